package main

// The names of the programs, as the tables show them.
const (
	version   = "sourceward version"
	check     = "sourceward check"
	decode    = "decoding alone"
	kubeScore = "kube-score"
	gator     = "gator"
	conftest  = "conftest"
)

// program is a program that is measured, with its arguments.
type program struct {
	// name is what tables call it. Its color in the plot is chosen by its place in the list of programs.
	name string
	// command returns the command for a corpus. The first word names a binary; paths are relative to the folder with the
	// corpora. What the rules of the peers are is in the folder rules.
	command func(c corpus) []string
	// exits are the exit codes of a run that did its work.
	exits []int
	// only is the name of the only corpus that the program is measured on, or "" for all.
	only string
}

// programs returns all programs, in the order of the tables.
func programs() []program {
	return []program{
		{
			// The least that sourceward can do: without it one cannot say what one file costs.
			name: version, exits: []int{0}, only: "one-file",
			command: func(corpus) []string { return []string{"sourceward", "version"} },
		},
		{
			name: check, exits: []int{0, 1},
			command: func(c corpus) []string { return []string{"sourceward", "check", "-q", c.name} },
		},
		{
			name: decode, exits: []int{0},
			command: func(c corpus) []string { return append([]string{"child", "decode"}, c.paths()...) },
		},
		// The peers exit with 1 because each corpus has something to report.
		{
			name: kubeScore, exits: []int{1},
			command: func(c corpus) []string { return append([]string{"kube-score", "score"}, c.paths()...) },
		},
		{
			name: gator, exits: []int{1},
			command: func(c corpus) []string { return []string{"gator", "test", "-f", "rules/gator", "-f", c.name} },
		},
		{
			name: conftest, exits: []int{1},
			command: func(c corpus) []string {
				return []string{"conftest", "test", "--combine", "--policy", "rules/conftest", c.name}
			},
		},
	}
}
