package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// manager is the field manager of the helm command. Without it, Helm would use the name of this binary.
const manager = "helm"

// release is what to install or upgrade, and how. Everything that it does not say is as `helm install` and `helm upgrade`
// have it without flags.
type release struct {
	namespace, name string
	// templates are the manifests, by their names.
	templates map[string][]byte
	// install is true for the first revision of a release.
	install bool
	// serverSide is false for `helm install --server-side=false`. Helm 3 ignores it: it never applies on the server.
	serverSide bool
}

func main() {
	version := flag.Int("helm", 4, "3 or 4")
	namespace := flag.String("namespace", "default", "the namespace of the releases")
	install := flag.Bool("install", false, "install new releases, instead of upgrading them")
	serverSide := flag.Bool("server-side", true, "with Helm 4: install by server-side apply; upgrades follow the installation")
	flag.Parse()
	// What is not an error of a release does not matter here.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	var errs []error
	for _, folder := range flag.Args() {
		r := release{namespace: *namespace, name: filepath.Base(folder), install: *install, serverSide: *serverSide}
		if err := r.apply(*version, folder); err != nil {
			errs = append(errs, fmt.Errorf("release %s: %w", r.name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

// apply reads the templates in a folder and installs or upgrades the release.
func (r release) apply(version int, folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("there is no *.yaml in %s", folder)
	}
	r.templates = make(map[string][]byte, len(files))
	for _, file := range files {
		if r.templates["templates/"+filepath.Base(file)], err = os.ReadFile(file); err != nil {
			return err
		}
	}
	switch version {
	case 3:
		return r.helm3()
	case 4:
		return r.helm4()
	default:
		return fmt.Errorf("there is no Helm %d; want 3 or 4", version)
	}
}
