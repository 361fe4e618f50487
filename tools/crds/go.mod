// Where the definitions of other operators' resources come from, for the tests of the charts.
module member-system/tools/crds

go 1.26.0

require (
	github.com/kedacore/keda/v2 v2.21.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
