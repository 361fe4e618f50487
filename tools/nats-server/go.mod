module member-system/tools/nats-server

go 1.26.4

require github.com/nats-io/nats-server/v2 v2.15.2
