{{/*
An app's disruption budget, autoscaling, metrics and network policy.
Takes: root, app, workload, and the arguments of common.keda and common.networkPolicy.
*/}}
{{- define "common.operation" -}}
{{- $labels := include "common.labels" . -}}
{{- $selector := include "common.selector" . -}}
{{- $target := dict "apiVersion" "apps/v1" "kind" "Deployment" "name" .app -}}
{{- with .workload.podDisruptionBudget }}
{{- if .enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $.app }}
  labels: {{ $labels | nindent 4 }}
spec:
  maxUnavailable: {{ .maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{ $selector | nindent 6 }}
{{- end }}
{{- end }}
{{- with .workload.autoscaling }}
{{- if .enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ $.app }}
  labels: {{ $labels | nindent 4 }}
spec:
  scaleTargetRef: {{ toYaml $target | nindent 4 }}
  minReplicas: {{ .minReplicas }}
  maxReplicas: {{ .maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target: { type: Utilization, averageUtilization: {{ .targetCPUPercent }} }
{{- end }}
{{- end }}
{{- if .workload.keda.enabled }}
{{ include "common.keda" . }}
{{- end }}
{{- if .root.Values.serviceMonitor.enabled }}
---
# The sidecar's metrics: deliveries, publishes, their failures and durations.
apiVersion: v1
kind: Service
metadata:
  name: {{ .app }}-metrics
  labels:
    {{- $labels | nindent 4 }}
    member-system/metrics: "true"
spec:
  clusterIP: None
  selector: {{ $selector | nindent 4 }}
  ports:
    - { name: dapr-metrics, port: 9090 }
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ .app }}
  labels:
    {{- $labels | nindent 4 }}
    {{- include "common.added" (dict "own" $labels "more" .root.Values.serviceMonitor.labels "value" "serviceMonitor.labels") | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
      member-system/metrics: "true"
  endpoints:
    - { port: dapr-metrics, interval: {{ .root.Values.serviceMonitor.interval | quote }} }
{{- end }}
{{- if .root.Values.networkPolicy.enabled }}
---
{{ include "common.networkPolicy" . }}
{{- end }}
{{- end }}
