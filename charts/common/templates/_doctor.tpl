{{/*
The CronJob that diagnoses why subscribers do not receive events. Suspended by default, for `kubectl create job --from=cronjob/…`. It may
read the namespace's Dapr resources, Deployments and pods, and call its own API, nothing else.
Takes: root, app, apps (the app-ids of the system).
*/}}
{{- define "common.doctor" -}}
{{- $doctor := .root.Values.doctor -}}
{{- $name := printf "%s-doctor" .app -}}
{{- $labels := include "common.labels" (dict "root" .root "app" $name) -}}
{{- if $doctor.enabled }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  labels: {{ $labels | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  labels: {{ $labels | nindent 4 }}
rules:
  - { apiGroups: [""], resources: [pods], verbs: [list] }
  - { apiGroups: [apps], resources: [deployments], verbs: [list] }
  - { apiGroups: [dapr.io], resources: [components, subscriptions, resiliencies], verbs: [list] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  labels: {{ $labels | nindent 4 }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name }} }
subjects: [{ kind: ServiceAccount, name: {{ $name }}, namespace: {{ .root.Release.Namespace | quote }} }]
{{- if $doctor.readDefinitions }}
{{- $clusterName := printf "%s-%s" .root.Release.Namespace $name }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ $clusterName }}
  labels: {{ $labels | nindent 4 }}
rules:
  - apiGroups: [apiextensions.k8s.io]
    resources: [customresourcedefinitions]
    resourceNames: [components.dapr.io, configurations.dapr.io, resiliencies.dapr.io, subscriptions.dapr.io]
    verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $clusterName }}
  labels: {{ $labels | nindent 4 }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $clusterName }} }
subjects: [{ kind: ServiceAccount, name: {{ $name }}, namespace: {{ .root.Release.Namespace | quote }} }]
{{- end }}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ $name }}
  labels: {{ $labels | nindent 4 }}
spec:
  schedule: {{ $doctor.schedule | quote }}
  suspend: {{ $doctor.suspend }}
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      # Most of it is for a new node and for pulling the image.
      activeDeadlineSeconds: 600
      template:
        metadata:
          labels: {{ $labels | nindent 12 }}
          annotations: {{ include "common.jobAnnotations" .root | nindent 12 }}
        spec: {{ include "common.jobPod" (dict "root" .root "name" "doctor" "args" (concat (list "ops/doctor/main.ts") .apps) "env" (include "common.doctorEnv" .) "resources" $doctor.resources "serviceAccount" $name) | nindent 10 }}
{{- end }}
{{- end }}

{{- define "common.doctorEnv" -}}
- { name: NAMESPACE, value: {{ .root.Release.Namespace | quote }} }
{{ include "common.apiEnv" . }}
{{- end }}
