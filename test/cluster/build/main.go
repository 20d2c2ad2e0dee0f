// Command build builds the control planes that the tests run on. `make cluster` runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/sourceward/sourceward/test/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, version := range cluster.Versions() {
		if err := cluster.Build(ctx, version, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // this is a main
		}
	}
}
