// Command daprd is Dapr's own sidecar, built from Dapr's module for machines that cannot download the release:
// its stable components (build tag stablecomponents) and, beside them, the two that this project's laptop set-up needs,
// which Dapr keeps in its larger set: the JetStream broker and name resolution by a SQLite file.
package main

import (
	"github.com/dapr/components-contrib/nameresolution/sqlite"
	"github.com/dapr/components-contrib/pubsub/jetstream"
	"github.com/dapr/dapr/cmd/daprd/app"
	"github.com/dapr/dapr/pkg/components/nameresolution"
	"github.com/dapr/dapr/pkg/components/pubsub"
)

func init() {
	pubsub.DefaultRegistry.RegisterComponent(jetstream.NewJetStream, "jetstream")
	nameresolution.DefaultRegistry.RegisterComponent(sqlite.NewResolver, "sqlite")
}

func main() { app.Run() }
