package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// describe returns lines about the machine, the commit and the programs.
func describe(ctx context.Context, now time.Time, binaries map[string]string) ([]string, error) {
	cpu, err := field("/proc/cpuinfo", "model name", ":")
	if err != nil {
		return nil, err
	}
	memory, err := field("/proc/meminfo", "MemTotal", ":")
	if err != nil {
		return nil, err
	}
	var kib int
	if _, err := fmt.Sscanf(memory, "%d kB", &kib); err != nil {
		return nil, fmt.Errorf("/proc/meminfo: MemTotal %q: %w", memory, err)
	}
	system, err := field("/etc/os-release", "PRETTY_NAME", "=")
	if err != nil {
		return nil, err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return nil, err
	}
	commit, err := output(ctx, "git", "-C", root, "rev-parse", "HEAD")
	if err != nil {
		return nil, err
	}
	// The results themselves are no change of what is measured.
	changes, err := output(ctx, "git", "-C", root, "status", "--porcelain", "--",
		".", ":!test/bench/"+reportFile, ":!test/bench/"+plotFile)
	if err != nil {
		return nil, err
	}
	if changes != "" {
		commit += ", with changes that are not committed"
	}
	lines := []string{
		"Date: " + now.UTC().Format("2006-01-02 15:04 MST"),
		fmt.Sprintf("CPU: %s, %s, %d cores", cpu, runtime.GOARCH, runtime.NumCPU()),
		fmt.Sprintf("Memory: %.1f GiB", float64(kib)/(1<<20)),
		fmt.Sprintf("System: %s, Linux %s", strings.Trim(system, `"`), strings.TrimSpace(string(kernel))),
		"Go: " + strings.TrimPrefix(runtime.Version(), "go"),
		"Sourceward: commit " + commit,
	}
	for _, p := range peers {
		built, err := builtFrom(binaries[p.name])
		if err != nil {
			return nil, err
		}
		lines = append(lines, p.name+": "+strings.TrimPrefix(built, "v")+", from "+p.module)
	}
	return lines, nil
}

// field returns the first value of a key in a file with a key and a value on each line, or unknown: /proc/cpuinfo names
// the model on some architectures only.
func field(path, key, separator string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(line, separator); ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value), nil
		}
	}
	return "unknown", nil
}
