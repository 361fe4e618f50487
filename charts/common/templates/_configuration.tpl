{{/*
The APIs that sidecars serve, and the apps that may invoke theirs.
Takes: root, apis (names), callers (list of {app, namespace, operations (list of {path, verbs})}).
*/}}
{{- define "common.configuration" -}}
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: {{ include "common.chart" .root }}
  labels: {{ include "common.labels" (dict "root" .root "app" (include "common.chart" .root) "component" "eventing") | nindent 4 }}
spec:
  features:
    # With it, all sidecars of the namespace restart at the same moment when any Configuration changes. Without it, a change replaces
    # pods one by one.
    - { name: HotReload, enabled: false }
  api:
    # Only what the apps use.
    allowed:
      {{- range .apis }}
      - { name: {{ . }}, version: v1.0, protocol: http }
      {{- end }}
      # No app uses gRPC, but a protocol without a rule is completely open. This rule opens only what HTTP opens anyway.
      - { name: metadata, version: v1, protocol: grpc }
  metrics:
    enabled: true
    http: { increasedCardinality: false }
  {{- with .root.Values.dapr.tracing }}
  tracing: {{ toYaml . | nindent 4 }}
  {{- end }}
  accessControl:
    defaultAction: deny
    trustDomain: public
    {{- with .callers }}
    policies:
      {{- range . }}
      - appId: {{ .app | quote }}
        defaultAction: deny
        trustDomain: public
        namespace: {{ .namespace | default $.root.Release.Namespace | quote }}
        operations:
          {{- range .operations }}
          - { name: {{ .path }}, httpVerb: [{{ join ", " .verbs }}], action: allow }
          {{- end }}
      {{- end }}
    {{- end }}
{{- end }}
