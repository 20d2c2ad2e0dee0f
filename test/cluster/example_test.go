package cluster_test

import (
	"context"
	"fmt"

	"github.com/sourceward/sourceward/test/cluster"
)

func Example() {
	ctx := context.Background()
	c, err := cluster.Start(ctx, cluster.Options{Nodes: 3})
	if err != nil {
		panic(err)
	}
	output, err := c.Kubectl(ctx, "create", "deployment", "web", "--image=web", "--replicas=6").CombinedOutput()
	fmt.Println(string(output), err)
	if err := c.Stop(); err != nil {
		panic(err)
	}
}
