package manifest

import (
	"bytes"
	"cmp"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sourceward/sourceward/policies"
)

// definition is an object as a file defines it. A file, or several files, may define the same object more than once.
type definition struct {
	document *Document
	at       string
	content  map[string]any
	file     *foundFile
	order    int // in the order of the files
	// judged is the object as it was read already; nil if it was not.
	judged *judged

	// object and identity are zero before the object was decoded.
	object   policies.Ref
	identity identity
	// generated is true if the API server will generate the name, so that the object is not the same as any other.
	generated bool
	// variantOf is the number of the definition of which this one is a variant, with values for the placeholders at these
	// paths; 0 for an object as a file defines it.
	variantOf    int
	placeholders []string
	// replaced is true for a definition in the context instead of which another one is judged.
	replaced bool
}

// identity is what is equal for all definitions of one object.
type identity struct{ group, kind, namespace, name string }

func (i identity) compare(j identity) int {
	return cmp.Or(strings.Compare(i.kind, j.kind), strings.Compare(i.namespace, j.namespace),
		strings.Compare(i.name, j.name), strings.Compare(i.group, j.group))
}

func identityOf(ref policies.Ref) identity {
	group, _, ok := strings.Cut(ref.APIVersion, "/")
	if !ok {
		group = ""
	}
	return identity{group, ref.Kind, ref.Namespace, ref.Name}
}

func namespaceRef(name string) policies.Ref {
	return policies.Ref{APIVersion: "v1", Kind: "Namespace", Name: name}
}

func (d definition) apiVersion() string {
	apiVersion, _ := typeOf(d.content)
	return apiVersion
}

func (d definition) kind() string {
	_, kind := typeOf(d.content)
	return kind
}

// isNamespaced reports whether the namespace of the object matters to decisions.
func (d definition) isNamespaced() bool {
	apiVersion, kind := d.apiVersion(), d.kind()
	return policies.Judged(apiVersion, kind) || policies.Autoscales(apiVersion, kind) ||
		policies.HoldsEndpoints(apiVersion, kind)
}

// namespace returns the namespace that the object names. needs is true if it names none, and needs one.
func (d definition) namespace() (name string, needs bool) {
	metadata, _ := d.content["metadata"].(map[string]any)
	name, isText := metadata["namespace"].(string)
	if !d.isNamespaced() || metadata == nil || metadata["namespace"] != nil && !isText {
		return "", false // if it cannot be read, decoding reports it
	}
	return name, name == ""
}

// setNamespace sets the namespace of an object that needs one.
func (d definition) setNamespace(name string) {
	d.content["metadata"].(map[string]any)["namespace"] = name
}

// ref returns the Ref of the object as far as it can be read.
func (d definition) ref() policies.Ref {
	metadata, _ := d.content["metadata"].(map[string]any)
	ref := policies.Ref{APIVersion: d.apiVersion(), Kind: d.kind()}
	ref.Namespace, _ = metadata["namespace"].(string)
	ref.Name, _ = metadata["name"].(string)
	if d.isNamespaced() {
		ref.Namespace = cmp.Or(ref.Namespace, corev1.NamespaceDefault)
	}
	return ref
}

func (d definition) remark(text string) Remark {
	return Remark{Place: d.document.Place(d.at), Object: d.ref(), Text: text}
}

func (d definition) place() string {
	return d.document.Place(d.at).String()
}

// nearness says how near a definition is to another one: the same file is nearest, then come files that one
// kustomization lists as resources, and then the longest common path of folders. A larger number is nearer.
func (d definition) nearness(other definition) int {
	isInSame := func(kustomization string) bool { return slices.Contains(other.file.kustomizations, kustomization) }
	switch {
	case d.file.real == other.file.real:
		return math.MaxInt
	case slices.ContainsFunc(d.file.kustomizations, isInSame):
		return math.MaxInt - 1
	}
	n := 0
	for n < min(len(d.file.folder), len(other.file.folder)) && d.file.folder[n] == other.file.folder[n] {
		n++
	}
	return n
}

// folderOf returns the folders in which a file lies, beginning with the root. Standard input and pipes lie in none.
func folderOf(file string) []string {
	return strings.Split(filepath.ToSlash(filepath.Dir(file)), "/")
}

// register keeps a definition of an object, and returns its number.
func (m *Manifests) register(ref policies.Ref, d definition) int {
	d.content, d.judged = nil, nil // only its place matters from now on
	d.object, d.identity, d.generated = ref, identityOf(ref), strings.HasSuffix(ref.Name, "*")
	number := len(m.copies)
	m.copies = append(m.copies, d)
	m.copiesOf[d.identity] = append(m.copiesOf[d.identity], number)
	m.repeated = m.repeated || len(m.copiesOf[d.identity]) > 1
	return number
}

// replaceContext lets each object in Options.Paths that does not lie in one of the roots of the context stand in for
// all its definitions there: it is what the cluster will have instead. One that lies there is one more definition. Each
// object in a file stands in for that of the cluster.
func (m *Manifests) replaceContext(roots []string) {
	isInContext := func(file *foundFile) bool {
		return slices.ContainsFunc(roots, func(root string) bool { return isBelow(root, file.real) })
	}
	for _, of := range m.copies[1:] {
		if of.generated || of.file.live {
			continue
		}
		replacesContext := !of.file.context && !isInContext(of.file)
		for _, number := range m.copiesOf[of.identity] {
			file := m.copies[number].file
			m.copies[number].replaced = m.copies[number].replaced || file.live || replacesContext && file.context
		}
	}
}

// sight is what one object sees of the definitions of other objects.
type sight struct {
	m    *Manifests
	from int
	// chosen holds which one of equally near definitions the object sees, by its index among them. The default is the
	// first.
	chosen map[identity]int
	// candidates caches the equally near definitions of an object.
	candidates map[identity][]int
}

func (m *Manifests) sight(o *Object) *sight {
	return &sight{m: m, from: o.number, chosen: map[identity]int{}, candidates: map[identity][]int{}}
}

// sees reports whether the object sees a definition.
//
// A definition belongs to another definition of the object if that one is nearer to it. Of those that do not, the
// object sees the nearest one of each neighbour. The order in which files are read does not matter.
func (s *sight) sees(number int) bool {
	of := s.m.copies[number]
	switch {
	case of.identity == s.m.copies[s.from].identity:
		return number == s.from
	case of.generated:
		return !of.replaced && !s.m.belongsToAnother(s.from, number)
	}
	candidates := s.nearest(of.identity)
	return len(candidates) > 0 && candidates[s.chosen[of.identity]] == number
}

// nearest returns the definitions of an object of which s sees one: the nearest ones of those that do not belong to
// another definition of s.from.
func (s *sight) nearest(of identity) []int {
	if candidates, ok := s.candidates[of]; ok {
		return candidates
	}
	from := s.m.copies[s.from]
	var candidates []int
	nearest := -1
	for _, number := range s.m.copiesOf[of] {
		other := s.m.copies[number]
		if other.replaced || s.m.belongsToAnother(s.from, number) {
			continue
		}
		switch nearness := from.nearness(other); {
		case nearness > nearest:
			nearest, candidates = nearness, []int{number}
		case nearness == nearest:
			candidates = append(candidates, number)
		}
	}
	// By their text and not by their line, so that the order of the documents in a file does not matter.
	slices.SortFunc(candidates, func(i, j int) int {
		a, b := s.m.copies[i], s.m.copies[j]
		return cmp.Or(strings.Compare(a.file.name, b.file.name), bytes.Compare(a.document.text(), b.document.text()),
			cmp.Compare(i, j))
	})
	s.candidates[of] = candidates
	return candidates
}

// belongsToAnother reports whether another definition of an object is nearer to a definition than the one with that
// number.
func (m *Manifests) belongsToAnother(number, to int) bool {
	of := m.copies[number]
	return !of.generated && m.greatestNearness(of.identity, to) > of.nearness(m.copies[to])
}

// approach is from the definitions of one object to one definition of another.
type approach struct {
	from identity
	to   int
}

// behindOthers returns the workloads among the neighbours of a workload that are not behind one of its Services, but
// behind other, nearer definitions of them. A Service has none.
func (s *sight) behindOthers(o *Object, related policies.Related) map[int]bool {
	if o.Workload == nil {
		return nil
	}
	others := map[int]bool{}
	for _, workload := range related.Workloads {
		number := s.m.numbers[workload]
		isBehind := func(service *corev1.Service) bool {
			return policies.Selects(service, workload) && !s.m.belongsToAnother(s.m.numbers[service], number)
		}
		if !slices.ContainsFunc(related.Services, isBehind) {
			others[number] = true
		}
	}
	return others
}

// greatestNearness returns how near the nearest definition of an object is to a definition. It looks at all of them
// only the first time, since each of many folders may define both objects.
func (m *Manifests) greatestNearness(from identity, to int) int {
	nearness, isKnown := m.nearnesses[approach{from, to}]
	if isKnown {
		return nearness
	}
	for _, number := range m.copiesOf[from] {
		if rival := m.copies[number]; !rival.replaced {
			nearness = max(nearness, rival.nearness(m.copies[to]))
		}
	}
	m.nearnesses[approach{from, to}] = nearness
	return nearness
}

// ambiguous returns the objects of which s has seen one of several equally near definitions, in a fixed order.
func (s *sight) ambiguous() []identity {
	var found []identity
	for of, candidates := range s.candidates {
		if len(candidates) > 1 {
			found = append(found, of)
		}
	}
	slices.SortFunc(found, identity.compare)
	return found
}

// namespace returns the Namespace that the object sees. If there is none, it returns an assumed one, with only the
// label that every Namespace has.
func (s *sight) namespace(name string) policies.Namespace {
	of := identityOf(namespaceRef(name))
	if candidates := s.nearest(of); len(candidates) > 0 {
		return s.m.namespaces[candidates[s.chosen[of]]]
	}
	return policies.Namespace{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}, Assumed: true}
}

// input returns the input of Decide for the creation of an object.
func (s *sight) input(o *Object, cluster policies.Cluster, now time.Time) policies.Input {
	if cluster.Known == nil {
		cluster.Known = s.m.knownNodes()
	}
	var related policies.Related
	if s.m.repeated {
		related = s.m.index.RelatedCopies(o.Object, s.sees)
		if others := s.behindOthers(o, related); len(others) > 0 {
			related = s.m.index.RelatedCopies(o.Object, func(number int) bool { return !others[number] && s.sees(number) })
		}
	} else {
		related = s.m.index.Related(o.Object)
	}
	if s.m.besideLive && !s.isJudgedWith(o, related) {
		related.View = policies.ViewCluster
	}
	return policies.Input{
		Operation: policies.Create,
		Object:    o.Object,
		Namespace: s.namespace(o.Namespace),
		Related:   related,
		Cluster:   cluster,
		InFile:    o.InFile,
		Now:       now,
	}
}

// isJudgedWith reports whether a Service is judged together with a workload behind it, which then has what is wrong
// with the two.
func (s *sight) isJudgedWith(o *Object, related policies.Related) bool {
	return o.Service != nil && slices.ContainsFunc(related.Workloads, func(w *policies.Workload) bool {
		return !s.m.copies[s.m.numbers[w]].file.context
	})
}

// Input returns the input of Decide for the creation of an object. Its related objects are those near to it among
// everything that was read: of each, the nearest of the definitions to which no other definition of the object itself
// is nearer. Of equally near definitions it is the first, by file and text. If cluster.Known is nil, Input uses the
// Nodes in the context.
func (m *Manifests) Input(o *Object, cluster policies.Cluster, now time.Time) policies.Input {
	return m.sight(o).input(o, cluster, now)
}

// Namespace returns the Namespace of an object: the nearest one, as for Input. If none was read, it returns an assumed
// one, with only the label that every Namespace has.
func (m *Manifests) Namespace(o *Object) policies.Namespace { return m.sight(o).namespace(o.Namespace) }
