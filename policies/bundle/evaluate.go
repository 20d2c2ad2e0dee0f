package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"
	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/api/v1alpha1"
	"github.com/sourceward/sourceward/policies"
)

const (
	// EvaluationTimeout bounds the evaluation of one policy's modules for one object, in wall-clock time. The context's
	// deadline may bound it further. An evaluation usually takes well under a millisecond, and the API server gives a
	// webhook three seconds. An evaluation that never ends allocates about 200 MiB a second until it is stopped.
	EvaluationTimeout = 250 * time.Millisecond
	// shareOfTime divides the time left until the context's deadline: one policy may use up to a sixth of it, so that
	// several slow policies leave enough time for all others.
	shareOfTime = 6
	// maxStuck bounds how many evaluations of one policy go on after they were stopped, and so the memory and CPU that
	// they use if they never end.
	maxStuck = 2
	// MaxReasons bounds the number of members of one set for one object.
	MaxReasons = 100
	// MaxText bounds each text of a member, in bytes. A warning holds 120 characters, and an Event 1 024.
	MaxText = 1024
	// maxShown is how many bytes of a key or value that is not valid an error shows.
	maxShown = 80
)

// module holds the compiled modules of one policy.
type module struct {
	rules []rule
	// questions holds the question for an object under review, by its kind; the one under "" is for all other kinds.
	// verdicts holds the question for a neighbor, which covers keeps_source_ip only.
	questions, verdicts map[string]question
	// alone holds a question for each rule of a module that has several, to be asked when asking them together fails.
	alone map[rule]question
	// remembered holds the answers of the built-in modules; nil for the modules of a user.
	remembered *remembered
	// stuck is how many evaluations were stopped and do not end. They no longer have a slot.
	stuck atomic.Int32
}

// question is a prepared query that evaluates several rules at once, into one array in the order of the rules.
// A question without rules evaluates nothing.
type question struct {
	rules []rule
	// query is the compiled query, by a compiler of its own, and modules the compiler of what it refers to.
	query    ast.Body
	compiler ast.QueryCompiler
	modules  *ast.Compiler
	// needs is what objects need so that one of the rules can have a member. An object that has none of it is not asked
	// about.
	needs []need
}

// needing returns the question with the needs of its rules.
func (q question) needing(needs map[rule][]need) question {
	for _, r := range q.rules {
		q.needs = append(q.needs, needs[r]...)
	}
	return q
}

// rule is one partial set of the contract in one module.
type rule struct {
	// module is the last element of the package, and word the name of the rule.
	module, word string
	// severity is custom.severity of the package's METADATA, or empty.
	severity policies.Severity
	// builtin is true if the module is embedded in Sourceward.
	builtin bool
}

// declared returns the ids of the rules that the modules declare, by a set deny or warn, sorted.
func (m *module) declared() []string {
	var ids []string
	for _, r := range m.rules {
		if id := ruleID(r.module); (r.word == "deny" || r.word == "warn") && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// query returns the Rego query of a question.
func query(rules []rule, modules map[string]*ast.Module) string {
	packages := map[string]string{}
	for _, module := range modules {
		packages[lastElement(module.Package)] = module.Package.Path.String()
	}
	refs := make([]string, len(rules))
	for i, r := range rules {
		refs[i] = packages[r.module] + "." + r.word
	}
	return "reasons = [" + strings.Join(refs, ", ") + "]"
}

// Asks reports whether a policy has a rule for the object of a document, so that Evaluate evaluates its modules.
func (s *Set) Asks(policy string, document policies.Document) bool {
	m := s.custom[policy]
	return m != nil && m.isAskedAbout(document)
}

// Evaluate implements policies.Rules.
func (s *Set) Evaluate(
	ctx context.Context, document policies.Document, applied []policies.AppliedPolicy,
) []policies.Answer {
	var builtin policies.Answer
	if builtinSubjects().in(document) {
		builtin = s.builtin().evaluateHere(ctx, document)
	}
	answers := []policies.Answer{builtin}
	var asked []policies.AppliedPolicy
	var positions []int // of the answers of asked
	for _, policy := range applied {
		m := s.custom[policy.Name]
		if m == nil {
			continue
		}
		if m.isAskedAbout(document) {
			asked, positions = append(asked, policy), append(positions, len(answers))
		}
		answers = append(answers, policies.Answer{Policy: policy.Name})
	}
	if len(asked) == 0 {
		return answers
	}
	var next atomic.Int64
	work := func() {
		w := &worker{document: document}
		defer w.end()
		for i := next.Add(1) - 1; i < int64(len(asked)); i = next.Add(1) - 1 {
			answer := &answers[positions[i]]
			*answer = w.evaluate(ctx, s, asked[i])
			answer.Policy = asked[i].Name
		}
	}
	var others sync.WaitGroup
	for range min(s.slots.all, len(asked)) - 1 { // more would only wait for a slot
		others.Go(work)
	}
	work()
	others.Wait()
	return answers
}

// evaluateHere evaluates the built-in modules, which are known to terminate. They are evaluated even if ctx has ended:
// the API server does not wait long for policies that are slow, but the built-in rules take no time.
func (m *module) evaluateHere(ctx context.Context, document policies.Document) policies.Answer {
	asked := m.asked(document)
	if len(asked.rules) == 0 {
		return policies.Answer{}
	}
	return m.remembered.answer(document, func() policies.Answer {
		return asked.evaluate(context.WithoutCancel(ctx), inputOf(document, document.Parameters))
	})
}

// asked returns the question for objects of the kind of a document's object.
func (m *module) asked(document policies.Document) question {
	questions := m.questions
	if document.Neighbour {
		questions = m.verdicts
	}
	if asked, ok := questions[document.Object.Kind]; ok {
		return asked
	}
	return questions[""]
}

// isAskedAbout reports whether a rule can be true of the object of a document.
func (m *module) isAskedAbout(document policies.Document) bool {
	return slices.ContainsFunc(m.asked(document).needs, func(n need) bool { return n.isMetBy(document) })
}

// evaluateInTime evaluates the modules of a user, which may fail or not terminate. It waits for a slot first, which
// takes nothing from the time of the evaluation.
func (m *module) evaluateInTime(
	ctx context.Context, w *worker, slots *slots, parameters map[string]any,
) policies.Answer {
	asked := m.asked(w.document)
	if len(asked.rules) == 0 {
		return policies.Answer{}
	}
	notStarted := func(why string) policies.Answer {
		return policies.Answer{Err: errors.New("the evaluation was not started: " + why)}
	}
	namespace := w.document.Namespace.Name
	switch {
	case m.stuck.Load() >= maxStuck:
		return notStarted(fmt.Sprintf("%d former evaluations of this policy do not end", maxStuck))
	case ctx.Err() != nil || !slots.take(ctx, namespace):
		why := context.Cause(ctx)
		if errors.Is(why, context.DeadlineExceeded) {
			why = errNoTime
		}
		return notStarted(why.Error())
	}
	limit := EvaluationTimeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/shareOfTime)
	}
	if limit <= 0 {
		slots.release(namespace, EvaluationTimeout)
		return notStarted(errNoTime.Error())
	}
	e := &evaluation{worker: w, cause: fmt.Errorf("%w than %s", policies.ErrTooSlow, limit.Round(time.Millisecond))}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, e.cause)
	defer cancel()
	end, _ := ctx.Deadline()
	unused := func() time.Duration { return EvaluationTimeout - limit + time.Until(end) }
	defer func() {
		if !e.stopped {
			slots.release(namespace, unused())
			return
		}
		go m.await(ctx, e, func() { slots.release(namespace, unused()) })
	}()
	return m.answer(ctx, e, asked, parameters)
}

// await waits for an evaluation that was stopped, which ends after the step that it is in. The evaluation keeps its
// slot until then, but for EvaluationTimeout at most: release gives the slot back.
func (m *module) await(ctx context.Context, e *evaluation, release func()) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), EvaluationTimeout)
	defer cancel()
	isStuck := !e.ended(ctx)
	if isStuck {
		m.stuck.Add(1)
	}
	release()
	if e.running.Wait(); isStuck {
		m.stuck.Add(-1)
	}
}

var errNoTime = errors.New("no time is left for this object, since other evaluations took it")

// evaluation is one evaluation of a policy's modules, which may ask several questions.
type evaluation struct {
	worker *worker
	// cause is the error of a question that is stopped.
	cause error
	// running counts the questions that OPA evaluates now. stopped is true if one of them was stopped.
	running sync.WaitGroup
	stopped bool
}

// answer asks all sets of the modules together, which is the fastest way. If that fails or uses up half of the time, it
// asks each set by itself in the other half, deny first: an object that makes one set fail must not switch off the
// others.
func (m *module) answer(
	ctx context.Context, e *evaluation, asked question, parameters map[string]any,
) policies.Answer {
	end, _ := ctx.Deadline()
	if len(asked.rules) == 1 {
		return asked.within(ctx, time.Until(end), e, parameters)
	}
	together := asked.within(ctx, time.Until(end)/2, e, parameters)
	if together.Err == nil {
		return together
	}
	var answer policies.Answer
	denying, others := denyFirst(asked.rules)
	left := len(denying) + min(1, len(others)) // all others together get as much time as one deny
	for i, r := range slices.Concat(denying, others) {
		if i == len(denying) {
			left = len(others)
		}
		if !e.ended(ctx) {
			merge(&answer, m.alone[r].failed(errors.New("not started: a former evaluation of this policy does not stop")))
			break
		}
		merge(&answer, m.alone[r].within(ctx, time.Until(end)/time.Duration(left), e, parameters))
		left--
	}
	// What the joint query has denied counts, even if the set was not evaluated to its end alone.
	for _, denial := range together.Deny {
		isSame := func(f policies.HouseFinding) bool { return reflect.DeepEqual(f, denial) }
		if !slices.ContainsFunc(answer.Deny, isSame) {
			answer.Deny = append(answer.Deny, denial)
		}
	}
	return answer
}

// ended waits until no question is running, and reports whether that was before ctx ended: one that is stopped ends
// after the step that it is in, and must not run beside the next.
func (e *evaluation) ended(ctx context.Context) bool {
	if !e.stopped {
		return true
	}
	done := make(chan struct{})
	go func() {
		e.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// merge adds the answer for one set to that for the others. Err has a text for each set that failed, and Failed names
// the first of them.
func merge(answer *policies.Answer, set policies.Answer) {
	answer.RequireLocal = append(answer.RequireLocal, set.RequireLocal...)
	answer.KeepsSourceIP = append(answer.KeepsSourceIP, set.KeepsSourceIP...)
	answer.Deny = append(answer.Deny, set.Deny...)
	answer.Warn = append(answer.Warn, set.Warn...)
	answer.Spread = append(answer.Spread, set.Spread...)
	switch {
	case set.Err == nil:
	case answer.Err == nil:
		answer.Err, answer.Failed = set.Err, set.Failed
	default:
		answer.Err = fmt.Errorf("%w; %w", answer.Err, set.Err)
	}
}

// denyFirst returns the rules of deny, and the others, in the same order.
func denyFirst(rules []rule) (denying, others []rule) {
	for _, r := range rules {
		if r.word == "deny" {
			denying = append(denying, r)
		} else {
			others = append(others, r)
		}
	}
	return denying, others
}

// within evaluates the question for the document of the worker, and returns in time even if the evaluation does not
// end: OPA checks the context between its steps, but not within a step, so another goroutine evaluates.
func (q question) within(
	ctx context.Context, limit time.Duration, e *evaluation, parameters map[string]any,
) policies.Answer {
	value := e.worker.inputWith(parameters)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, e.cause)
	defer cancel()
	if ctx.Err() != nil {
		return q.failed(fmt.Errorf("the evaluation was not started: %w", context.Cause(ctx)))
	}
	answered := make(chan policies.Answer, 1)
	e.running.Add(1)
	e.worker.run(func() {
		defer e.running.Done()
		answered <- q.evaluate(ctx, value)
	})
	select {
	case answer := <-answered:
		return answer
	case <-ctx.Done():
	}
	select {
	case answer := <-answered: // at the same moment
		return answer
	default:
		e.stopped = true
		e.worker.end()
		return q.failed(fmt.Errorf("the evaluation was stopped: %w", context.Cause(ctx)))
	}
}

// failed returns the answer for a question that could not be evaluated. It names the set if the question has only one.
func (q question) failed(err error) policies.Answer {
	if len(q.rules) != 1 {
		return policies.Answer{Err: err}
	}
	r := q.rules[0]
	return policies.Answer{
		Err: fmt.Errorf("%s.%s: %w", r.module, r.word, err), Failed: policies.FailedSet{Module: r.module, Set: r.word},
	}
}

// evaluate evaluates the question for an input. If a module fails, the answer holds the denials found so far and the
// error: an object must not be admitted because a denied one makes a module fail as well.
func (q question) evaluate(ctx context.Context, value ast.Value) (answer policies.Answer) {
	defer func() {
		if p := recover(); p != nil {
			answer = q.failed(fmt.Errorf("the evaluation panicked: %s", panicText(p)))
		}
	}()
	answer, err := q.answer(ctx, value)
	if err != nil {
		failed := q.failed(err)
		failed.Deny = answer.Deny
		return failed
	}
	return answer
}

func (q question) answer(ctx context.Context, value ast.Value) (answer policies.Answer, err error) {
	if ctx.Err() != nil {
		// OPA would notice this only after evaluating for a while.
		return answer, fmt.Errorf("the evaluation was not started: %w", context.Cause(ctx))
	}
	reasons, err := q.ask(ctx, value)
	if err != nil {
		if topdown.IsCancel(err) {
			return answer, fmt.Errorf("the evaluation was stopped: %w", context.Cause(ctx))
		}
		return answer, errors.New(oneLine(err.Error()))
	}
	var first error
	fail := func(r rule, err error) {
		switch {
		case first != nil || err == nil:
		case len(q.rules) == 1: // failed names the set
			first = err
		default:
			first = fmt.Errorf("%s.%s: %w", r.module, r.word, err)
		}
	}
	for i, r := range q.rules {
		set, _ := reasons.Elem(i).Value.(ast.Set)
		members := set.Slice() // sorted
		if len(members) > MaxReasons {
			fail(r, fmt.Errorf("the set has %d members; want at most %d", len(members), MaxReasons))
			members = members[:MaxReasons]
		}
		for _, member := range members {
			fail(r, r.read(member.Value, &answer))
		}
	}
	return answer, first
}

// ask returns the sets of the rules, in their order. It does what package rego does for a prepared query, but without
// metrics, without another goroutine that waits for the end of ctx, and without converting the sets to Go values, which
// together take longer than most modules.
func (q question) ask(ctx context.Context, input ast.Value) (*ast.Array, error) {
	transaction, err := store().NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	defer store().Abort(ctx, transaction)
	stop := topdown.NewCancel()
	defer context.AfterFunc(ctx, stop.Cancel)()
	var reasons *ast.Array
	err = topdown.NewQuery(q.query).
		WithQueryCompiler(q.compiler).
		WithCompiler(q.modules).
		WithStore(store()).
		WithTransaction(transaction).
		WithMetrics(metrics.NoOp()).
		WithStrictBuiltinErrors(true).
		WithInput(ast.NewTerm(input)).
		WithCancel(stop).
		Iter(withBudget(ctx), func(result topdown.QueryResult) error {
			answer := result["reasons"]
			reasons = answer.Value.(*ast.Array)
			return checkSize(answer)
		})
	if err == nil && reasons == nil {
		err = errors.New("the evaluation gave no result")
	}
	return reasons, err
}

// memberKeys holds the keys that a member of each set may have, in the form in which messages list them.
var memberKeys = map[string]string{
	"require_local":   "message, annotation, value, strength",
	"keeps_source_ip": "message, annotation, value, verdict",
	"deny":            "message, path, fix",
	"warn":            "message, path, fix",
	"spread":          "message, strategy, whenUnsatisfiable, maxSkew",
	sharesTraffic:     "message, how, source",
}

// read decodes one member of a rule's set into the answer. It is strict: anything that the contract does not allow is
// an error, and is never ignored.
func (r rule) read(member ast.Value, answer *policies.Answer) error {
	switch r.word {
	case "require_local":
		reason := policies.RequireLocal{Module: r.module}
		if err := decode(member, &reason, memberKeys[r.word],
			text{messageTerm, &reason.Message}, text{annotationTerm, &reason.Annotation}, text{valueTerm, &reason.Value},
			text{strengthTerm, (*string)(&reason.Strength)},
		); err != nil {
			return err
		}
		strengths := []policies.Strength{policies.StrengthHard, policies.StrengthSoft}
		if err := oneOf("strength", reason.Strength, strengths); err != nil {
			return err
		}
		answer.RequireLocal = append(answer.RequireLocal, reason)
		return needMessage(&answer.RequireLocal[len(answer.RequireLocal)-1].Message)
	case "keeps_source_ip":
		reason := policies.KeepsSourceIP{Module: r.module}
		if err := decode(member, &reason, memberKeys[r.word],
			text{messageTerm, &reason.Message}, text{annotationTerm, &reason.Annotation}, text{valueTerm, &reason.Value},
			text{verdictTerm, (*string)(&reason.Verdict)},
		); err != nil {
			return err
		}
		if err := oneOf("verdict", reason.Verdict, policies.Verdicts); err != nil {
			return err
		}
		answer.KeepsSourceIP = append(answer.KeepsSourceIP, reason)
		return needMessage(&answer.KeepsSourceIP[len(answer.KeepsSourceIP)-1].Message)
	case sharesTraffic:
		reason := policies.SharesTraffic{Module: r.module}
		if err := decode(member, &reason, memberKeys[r.word],
			text{messageTerm, &reason.Message}, text{howTerm, (*string)(&reason.How)}, text{sourceTerm, &reason.Source},
		); err != nil {
			return err
		}
		answer.SharesTraffic = append(answer.SharesTraffic, reason)
		return oneOf("how", reason.How, policies.SharingWays)
	case "spread":
		wish := policies.SpreadWish{Module: r.module}
		if err := decode(member, &wish, memberKeys[r.word], text{messageTerm, &wish.Message}); err != nil {
			return err
		}
		strategies := append([]policies.Strategy{""}, v1alpha1.SpreadStrategies...)
		if err := oneOf("strategy", wish.Strategy, strategies); err != nil {
			return err
		}
		unsatisfiables := append([]policies.WhenUnsatisfiable{""}, v1alpha1.WhenUnsatisfiables...)
		if err := oneOf("whenUnsatisfiable", wish.WhenUnsatisfiable, unsatisfiables); err != nil {
			return err
		}
		// An absent maxSkew is decoded as 0 and leaves the choice to the settings. One that is written must be valid.
		if wish.MaxSkew < 1 && isSet(member, maxSkewTerm) {
			return fmt.Errorf("maxSkew %d must be at least 1", wish.MaxSkew)
		}
		answer.Spread = append(answer.Spread, wish)
		return needMessage(&answer.Spread[len(answer.Spread)-1].Message)
	default:
		finding := policies.HouseFinding{Rule: ruleID(r.module), Severity: r.severity}
		allowed := memberKeys[r.word]
		if r.builtin {
			allowed += ", want, unwanted, because"
		}
		if err := decode(member, &finding, allowed,
			text{messageTerm, &finding.Message}, text{pathTerm, &finding.Path}, text{fixTerm, &finding.Fix},
		); err != nil {
			return err
		}
		err := needMessage(&finding.Message)
		if err != nil {
			finding.Message = "the module gave no message"
		}
		if finding.Path != "" && !strings.HasPrefix(finding.Path, "/") {
			err, finding.Path = fmt.Errorf("path %q must be a JSON Pointer such as /spec/type", finding.Path), ""
		}
		finding.Fix = oneLine(finding.Fix)
		list := &answer.Deny
		if r.word == "warn" {
			list = &answer.Warn
		}
		// A denial counts even if its message or path is invalid.
		*list = append(*list, finding)
		return err
	}
}

// Keys of members.
var (
	messageTerm    = ast.StringTerm("message")
	annotationTerm = ast.StringTerm("annotation")
	valueTerm      = ast.StringTerm("value")
	strengthTerm   = ast.StringTerm("strength")
	verdictTerm    = ast.StringTerm("verdict")
	pathTerm       = ast.StringTerm("path")
	fixTerm        = ast.StringTerm("fix")
	maxSkewTerm    = ast.StringTerm("maxSkew")
	howTerm        = ast.StringTerm("how")
	sourceTerm     = ast.StringTerm("source")
)

// text is a field of a struct that is a string, and its key in a member.
type text struct {
	key   *ast.Term
	field *string
}

// decode decodes a member into a struct. allowed is an entry of memberKeys. texts holds the fields of the struct that
// are strings: a member that has no others is decoded without encoding it as JSON first, which is slow.
func decode(member ast.Value, into any, allowed string, texts ...text) error {
	if object, ok := member.(ast.Object); ok && hasOnly(object, texts) {
		for _, t := range texts {
			if value := object.Get(t.key); value != nil {
				*t.field = policies.Shorten(string(value.Value.(ast.String)), MaxText)
			}
		}
		return nil
	}
	converted, err := ast.JSONWithOpt(member, ast.JSONOpt{SortSets: true})
	if err != nil {
		return err
	}
	object, ok := converted.(map[string]any)
	text := jsonText(shortened(converted))
	gave := fmt.Sprintf("gave %s; want an object with %s", policies.Shorten(text, maxShown), allowed)
	for _, key := range slices.Sorted(maps.Keys(object)) {
		// encoding/json would accept Message for message.
		if !slices.Contains(strings.Split(allowed, ", "), key) {
			return fmt.Errorf("unknown key %s: %s", policies.Shorten(oneLine(key), maxShown), gave)
		}
	}
	err = json.Unmarshal([]byte(text), into)
	if wrong, is := errors.AsType[*json.UnmarshalTypeError](err); ok && is {
		value := policies.Shorten(jsonText(object[wrong.Field]), maxShown)
		return fmt.Errorf("%s %s must be %s", wrong.Field, value, wantedOf(wrong.Field))
	}
	if !ok || err != nil {
		return errors.New(gave)
	}
	return nil
}

// hasOnly reports whether an object has no keys but those of some texts, and all its values are strings.
func hasOnly(object ast.Object, texts []text) bool {
	found := 0
	for _, t := range texts {
		value := object.Get(t.key)
		if value == nil {
			continue
		}
		// JSON replaces what is not valid.
		if s, isString := value.Value.(ast.String); !isString || !utf8.ValidString(string(s)) {
			return false
		}
		found++
	}
	return found == object.Len()
}

// isSet reports whether a member has a key with a value other than null.
func isSet(member ast.Value, key *ast.Term) bool {
	object, ok := member.(ast.Object)
	if !ok {
		return false
	}
	value := object.Get(key)
	return value != nil && value.Value.Compare(ast.NullValue) != 0
}

// wantedOf describes the values that a key of a member accepts.
func wantedOf(key string) string {
	switch allowed, isWord := memberWords[key]; {
	case isWord:
		return "one of " + strings.Join(allowed, ", ")
	case key == "maxSkew":
		return "a whole number of at least 1"
	default:
		return "a string"
	}
}

// shortened shortens the texts of a member to MaxText. A long text, which may come from the object under review, must
// not make the denial invalid.
func shortened(member any) any {
	object, ok := member.(map[string]any)
	if !ok {
		return member
	}
	object = maps.Clone(object) // It may be a part of the object under review, which a module gave as it is.
	for key, value := range object {
		if text, ok := value.(string); ok && len(text) > MaxText {
			object[key] = policies.Shorten(text, MaxText)
		}
	}
	return object
}

func jsonText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// needMessage joins the lines of a message. It returns an error if the message is empty.
func needMessage(message *string) error {
	*message = oneLine(*message)
	if *message == "" {
		return errors.New("gave a member without a message")
	}
	return nil
}

func oneOf[T ~string](name string, value T, allowed []T) error {
	if !slices.Contains(allowed, value) {
		named := slices.DeleteFunc(slices.Clone(allowed), func(v T) bool { return v == "" })
		return fmt.Errorf("%s %q is not one of %s", name, string(value), joined(named))
	}
	return nil
}

// inputOf returns input for a policy with the given parameters. OPA converts to its own types only the parts that a
// module reads, which for most modules is little. The values within are plain Go values, because OPA converts all of
// them at once if a module passes input to a function.
func inputOf(d policies.Document, parameters map[string]any) ast.Value {
	document := map[string]any{
		"operation": string(d.Operation),
		"object":    d.Object.Content(),
		"namespace": map[string]any{
			"name": d.Namespace.Name, "labels": orEmpty(d.Namespace.Labels), "annotations": orEmpty(d.Namespace.Annotations),
		},
		"related": map[string]any{
			// Without neighbors this is an empty list, since count(null) would be an error.
			"services":  append([]*corev1.Service{}, d.Related.Services...),
			"workloads": append([]*policies.Workload{}, d.Related.Workloads...),
			"view":      string(d.Related.View),
		},
		"facts": map[string]any{
			"externally_accessible": d.Facts.ExternallyAccessible, "explicit": string(d.Facts.Explicit), "local": d.Facts.Local,
			"provider": d.Facts.Provider, "replicas": d.Facts.Replicas, "spread": string(d.Facts.Spread),
		},
		"cluster":    map[string]any{"nodes": d.Cluster.Nodes, "version": d.Cluster.Version},
		"parameters": orEmpty(parameters),
	}
	if d.Old != nil {
		document["old"] = d.Old.Content()
	}
	return ast.LazyObject(document)
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
