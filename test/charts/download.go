package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sync/errgroup"
)

// module is a source in the module cache.
type module struct {
	source
	// dir is the folder of the unpacked module. size is the size of its archive, which is what is downloaded.
	dir  string
	size int64
}

// downloads is the maximum number of concurrent downloads.
const downloads = 4

// downloadAll downloads modules into the module cache, unless they are there already.
func downloadAll(ctx context.Context, sources []source, shown *progress) ([]module, error) {
	modules := make([]module, len(sources))
	step, end := shown.start("downloading", len(sources), "modules")
	defer end()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(downloads)
	for i, s := range sources {
		group.Go(func() (err error) {
			modules[i], err = download(ctx, s)
			step()
			return err
		})
	}
	return modules, group.Wait()
}

// download runs go mod download for one module, and compares its hash with the one in the source. A go.sum cannot do
// that, because it has no lines for modules that nothing imports.
func download(ctx context.Context, s source) (module, error) {
	name := s.path + "@" + s.version
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", name)
	// Run it outside any module, so that it ignores the go.mod here.
	cmd.Dir, cmd.Env = os.TempDir(), append(os.Environ(), "GOWORK=off")
	output, failed := cmd.Output() // on failure, the output contains the reason
	var answer struct{ Dir, Zip, Sum, Error string }
	if err := json.Unmarshal(output, &answer); err != nil {
		return module{}, fmt.Errorf("download %s: %w", name, failed)
	}
	switch {
	case answer.Error != "":
		return module{}, fmt.Errorf("download %s: %s", name, answer.Error)
	case failed != nil:
		return module{}, fmt.Errorf("download %s: %w", name, failed)
	case answer.Sum != s.sum:
		return module{}, fmt.Errorf("download %s: its hash is %s, want %s", name, answer.Sum, s.sum)
	}
	archive, err := os.Stat(answer.Zip)
	if err != nil {
		return module{}, fmt.Errorf("download %s: %w", name, err)
	}
	return module{source: s, dir: answer.Dir, size: archive.Size()}, nil
}
