// Command image builds the container image of Sourceward without a container engine, and unpacks it:
//
//	image build [-platforms LIST] [-o LAYOUT] [-version VERSION] [-revision COMMIT]
//	image unpack LAYOUT FOLDER
//
// build compiles the binaries in the working directory, which is the root of the repository, and writes an OCI image
// layout. The image has the files, the user and the entrypoint that the Dockerfile gives it. It depends on nothing but
// the sources, the version of Go, the flags, and SOURCE_DATE_EPOCH, which is the date of all files in it. Building it
// again gives the same digest. `make image` runs it.
//
// unpack writes the root file system of the image for the machine's own architecture into a folder.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("want the command build or unpack")
	}
	switch command, args := args[0], args[1:]; command {
	case "build":
		return runBuild(ctx, args, out)
	case "unpack":
		if len(args) != 2 {
			return errors.New("unpack: want two arguments, the layout and the folder")
		}
		return unpack(args[0], args[1])
	default:
		return fmt.Errorf("%q is not a command; want build or unpack", command)
	}
}

// runBuild builds the image, and prints its digest and the size of each platform.
func runBuild(ctx context.Context, args []string, out io.Writer) error {
	b := build{source: "."}
	flags := flag.NewFlagSet("image build", flag.ExitOnError)
	list := flags.String("platforms", strings.Join(allPlatforms, ","), "the platforms of the image")
	flags.StringVar(&b.layout, "o", filepath.Join("dist", "image"), "the folder to write")
	flags.StringVar(&b.version, "version", "devel", "the version of the binaries")
	flags.StringVar(&b.revision, "revision", "", "the commit that is built")
	_ = flags.Parse(args) // an error ends the process
	if flags.NArg() > 0 {
		return fmt.Errorf("build: want no arguments, got %q", flags.Args())
	}
	var err error
	if b.platforms, err = parsePlatforms(*list); err != nil {
		return err
	}
	if b.created, err = sourceDate(); err != nil {
		return err
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		b.progress = func(text string) { fmt.Fprint(os.Stderr, "\r\x1b[K", text) }
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	built, err := b.run(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %s\n", built.digest, b.layout)
	for _, image := range built.images {
		fmt.Fprintf(out, "%s %s %.1f MB\n", image.digest, image.platform, float64(image.size)/1e6)
	}
	return nil
}

// sourceDate returns the date of the source, from the variable that reproducible builds set
// (https://reproducible-builds.org/specs/source-date-epoch/), or 1970 without it.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q; want the seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
