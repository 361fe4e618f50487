{{/*
Allows only the traffic that an app needs. A NetworkPolicy cannot name hosts outside the cluster, so database, broker and the like are opened
by port; narrow them with networkPolicy.egressTo.
Takes: root, app, api (whether it has a public API), callers (namespaces whose sidecars may call it), calls (namespaces whose apps it calls),
asks (URLs that it calls).
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
      {{- end }}
    - ports: [{ port: 8083 }]
      from:
        {{- range list "canary" "doctor" }}
        - podSelector: { matchLabels: {{ include "common.selector" (dict "root" $.root "app" (printf "%s-%s" $.app .)) | fromYaml | toJson }} }
        {{- end }}
        {{- with $policy.operationsFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- end }}
    {{- with .callers }}
    # Sidecars of the apps that may invoke it.
    - ports: [{ port: 50002 }]
      from: {{ include "common.inNamespaces" . | trim | nindent 8 }}
    {{- end }}
    - ports: [{ port: 9090 }]
      {{- with $policy.metricsFrom }}
      from: {{ toYaml . | nindent 8 }}
      {{- end }}
  egress:
    - ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }]
    # Dapr's control plane: certificates, components.
    - to: {{ include "common.inNamespaces" (list $policy.daprNamespace) | trim | nindent 8 }}
    {{- with .calls }}
    - ports: [{ port: 50002 }]
      to: {{ include "common.inNamespaces" . | trim | nindent 8 }}
    {{- end }}
    {{- include "common.outside" (dict "root" .root "ports" (concat $policy.egressPorts (include "common.brokerPorts" .root | fromYamlArray) (include "common.urlPorts" (concat (.asks | default list) (include "common.tracingUrls" .root | fromYamlArray)) | fromYamlArray))) | nindent 4 }}
{{- end }}

{{/*
The same for an app's Jobs: no ingress, and egress only to what each Job uses. The policies of hooks are hooks themselves with a lower weight:
in a namespace that denies by default, the migrations would otherwise wait for their policy indefinitely. They are deleted when they succeed,
because Helm does not delete hooks at uninstall. Takes: root, app.
*/}}
{{- define "common.jobNetworkPolicies" -}}
{{- if .root.Values.networkPolicy.enabled }}
{{- include "common.jobNetworkPolicy" (dict "root" .root "app" .app "name" "hooks" "jobs" (list "migrations" "streams" "consumers") "to" (list "database" "broker") "hook" true) }}
{{- include "common.jobNetworkPolicy" (dict "root" .root "app" .app "name" "housekeeping" "jobs" (list "housekeeping") "to" (list "database")) }}
{{- include "common.jobNetworkPolicy" (dict "root" .root "app" .app "name" "restore" "jobs" (list "restore") "to" (list "database" "broker")) }}
{{- include "common.jobNetworkPolicy" (dict "root" .root "app" .app "name" "canary" "jobs" (list "canary") "to" (list "api")) }}
{{- include "common.jobNetworkPolicy" (dict "root" .root "app" .app "name" "doctor" "jobs" (list "doctor") "to" (list "api" "api-server")) }}
{{- end }}
{{- end }}

{{/* Takes: root, app, name and jobs (suffixes of the app's name), to (any of database, broker, api, api-server), hook. */}}
{{- define "common.jobNetworkPolicy" -}}
{{- $policy := .root.Values.networkPolicy }}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .app }}-{{ .name }}
  labels: {{ include "common.labels" . | nindent 4 }}
  {{- if .hook }}
  annotations:
    helm.sh/hook: pre-install,pre-upgrade,pre-rollback
    helm.sh/hook-weight: "-10"
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
  {{- end }}
spec:
  podSelector:
    matchLabels: { app.kubernetes.io/instance: {{ .root.Release.Name | quote }} }
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
    {{- if has "api" .to }}
    - ports: [{ port: 8083 }]
      to: [{ podSelector: { matchLabels: {{ include "common.selector" . | fromYaml | toJson }} } }]
    {{- end }}
    {{- $ports := has "database" .to | ternary $policy.egressPorts list }}
    {{- if has "broker" .to }}{{ $ports = concat $ports (include "common.brokerPorts" .root | fromYamlArray) }}{{ end }}
    {{- with $ports }}
    {{- include "common.outside" (dict "root" $.root "ports" .) | nindent 4 }}
    {{- end }}
    {{- if has "api-server" .to }}
    - ports:
        {{- range $policy.apiServerPorts }}
        - { port: {{ . }} }
        {{- end }}
      {{- with $policy.apiServerTo }}
      to: {{ toYaml . | nindent 8 }}
      {{- end }}
    {{- end }}
{{- end }}

{{/* Takes: a list of namespaces. */}}
{{- define "common.inNamespaces" -}}
{{- range uniq . }}
- namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: {{ . | quote }} } }
{{- end }}
{{- end }}

{{/* Takes: root, ports. */}}
{{- define "common.outside" -}}
- ports:
    {{- $seen := dict }}
    {{- range .ports }}
    {{- if not (hasKey $seen (toString .)) }}
    - { port: {{ . }} }
    {{- end }}
    {{- $_ := set $seen (toString .) true }}
    {{- end }}
  {{- with .root.Values.networkPolicy.egressTo }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "common.brokerPorts" -}}
{{- range splitList "," .Values.broker.address }}
- {{ regexFind "[0-9]+$" . }}
{{- end }}
{{- end }}

{{- define "common.tracingUrls" -}}
{{- range $name, $exporter := .Values.dapr.tracing }}
{{- if kindIs "map" $exporter }}
{{- with $exporter.endpointAddress }}
- {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Takes: a list of `scheme://host:port/path`; only the host is required. */}}
{{- define "common.urlPorts" -}}
{{- range . }}
- {{ regexReplaceAll "^\\w+://" . "" | regexFind "^[^/?#]*" | regexFind ":[0-9]+$" | trimPrefix ":" | default (hasPrefix "http://" . | ternary "80" "443") }}
{{- end }}
{{- end }}
