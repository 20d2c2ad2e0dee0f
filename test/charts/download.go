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
	// dir is where it was unpacked, and size the size of its archive: what there was to download.
	dir  string
	size int64
}

// downloads is how many modules are downloaded at once.
const downloads = 4

// downloadAll brings modules into the module cache, or finds them there.
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

// download is go mod download of one module, whose hash must be the one that is written here: modules
// that nothing imports have no line in a go.sum.
func download(ctx context.Context, s source) (module, error) {
	name := s.path + "@" + s.version
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", name)
	// Outside any module, so that the go.mod here does not count.
	cmd.Dir, cmd.Env = os.TempDir(), append(os.Environ(), "GOWORK=off")
	output, failed := cmd.Output() // on failure too, the reason is in it
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
