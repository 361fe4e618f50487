{{/* How an app is scaled, kept up and watched. Takes: root, app, workload, relay. */}}
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
{{- with .workload.keda }}
{{- if .enabled }}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: {{ $.app }}
  labels: {{ $labels | nindent 4 }}
spec:
  secretTargetRef:
    - parameter: connection
      name: {{ $.root.Values.database.existingSecret }}
      key: {{ $.root.Values.database.keys.readonly }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ $.app }}
  labels: {{ $labels | nindent 4 }}
spec:
  scaleTargetRef: {{ toYaml $target | nindent 4 }}
  minReplicaCount: {{ .minReplicas }}
  maxReplicaCount: {{ .maxReplicas }}
  triggers:
    - type: postgresql
      metadata:
        # The age of the oldest message that waits, in seconds: one step along an index, however many wait.
        query: select coalesce((select extract(epoch from clock_timestamp() - created_at) from eventing.outbox order by position limit 1), 0)
        targetQueryValue: {{ .lagSeconds | quote }}
      authenticationRef: { name: {{ $.app }} }
{{- end }}
{{- end }}
{{- if .root.Values.serviceMonitor.enabled }}
---
# What the sidecar measures: deliveries, publishes, their failures and times.
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
    {{- with .root.Values.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- $selector | nindent 6 }}
      member-system/metrics: "true"
  endpoints:
    - { port: dapr-metrics, interval: {{ .root.Values.serviceMonitor.interval }} }
{{- end }}
{{- if .root.Values.networkPolicy.enabled }}
---
{{ include "common.networkPolicy" . }}
{{- end }}
{{- end }}

{{/*
Nothing in and nothing out but what is needed. Addresses outside the cluster cannot be told by name, so database, broker and identity
provider are opened by port; narrow them with networkPolicy.egressTo. Takes: root, app, api (whether callers may come in).
*/}}
{{- define "common.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .app }}
  labels: {{ include "common.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{ include "common.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    {{- if .api }}
    - ports: [{ port: 8080 }]
      {{- with $policy.apiFrom }}
      from: {{ toYaml . | nindent 8 }}
    - ports: [{ port: 8080 }]
      from:
        {{- range list "canary" "doctor" }}
        - podSelector: { matchLabels: {{ include "common.selector" (dict "root" $.root "app" (printf "%s-%s" $.app .)) | fromYaml | toJson }} }
        {{- end }}
      {{- end }}
    # Other sidecars of the namespace, for service invocation.
    - ports: [{ port: 50002 }]
      from: [{ podSelector: {} }]
    {{- end }}
    - ports: [{ port: 9090 }]
      {{- with $policy.metricsFrom }}
      from: {{ toYaml . | nindent 8 }}
      {{- end }}
  egress:
    - ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
    # Dapr's control plane: certificates, components.
    - to: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ $policy.daprNamespace }} } } }]
    - ports: [{ port: 50002 }]
      to: [{ podSelector: {} }]
    - ports:
        {{- range $policy.egressPorts }}
        - { port: {{ . }} }
        {{- end }}
      {{- with $policy.egressTo }}
      to: {{ toYaml . | nindent 8 }}
      {{- end }}
{{- end }}

{{/*
The same for what runs now and then beside an app: nobody comes in, and out go only what it works on, its app's API and, for the doctor, the
API server. Takes: root, app, jobs (list of names behind the app's).
*/}}
{{- define "common.jobsNetworkPolicy" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- if $policy.enabled }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .app }}-jobs
  labels: {{ include "common.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels: { app.kubernetes.io/instance: {{ .root.Release.Name }} }
    matchExpressions:
      - key: app.kubernetes.io/name
        operator: In
        values:
          {{- range .jobs }}
          - {{ printf "%s-%s" $.app . }}
          {{- end }}
  policyTypes: [Ingress, Egress]
  egress:
    - ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
    - ports: [{ port: 8080 }]
      to: [{ podSelector: { matchLabels: {{ include "common.selector" . | fromYaml | toJson }} } }]
    - ports:
        {{- range $policy.egressPorts }}
        - { port: {{ . }} }
        {{- end }}
      {{- with $policy.egressTo }}
      to: {{ toYaml . | nindent 8 }}
      {{- end }}
    - ports:
        {{- range $policy.apiServerPorts }}
        - { port: {{ . }} }
        {{- end }}
{{- end }}
{{- end }}
