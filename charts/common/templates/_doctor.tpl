{{/*
Looks for what keeps events from being heard; suspended unless told otherwise, for `kubectl create job --from=cronjob/…`. It may read what
the namespace holds of Dapr and its own API, and nothing else. Takes: root, app, apps (the app-ids of the system).
*/}}
{{- define "common.doctor" -}}
{{- $doctor := .root.Values.doctor -}}
{{- $name := printf "%s-doctor" .app -}}
{{- $labels := include "common.labels" (dict "root" .root "app" $name) -}}
{{- $secrets := .root.Values.secrets -}}
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
subjects: [{ kind: ServiceAccount, name: {{ $name }}, namespace: {{ .root.Release.Namespace }} }]
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
subjects: [{ kind: ServiceAccount, name: {{ $name }}, namespace: {{ .root.Release.Namespace }} }]
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
      activeDeadlineSeconds: 120
      template:
        metadata:
          labels: {{ $labels | nindent 12 }}
          annotations: { dapr.io/enabled: "false" }
        spec:
          restartPolicy: Never
          serviceAccountName: {{ $name }}
          # The only pod that asks the API server.
          automountServiceAccountToken: true
          {{- include "common.podSecurityContext" .root | nindent 10 }}
          containers:
            - name: doctor
              {{- include "common.container" (dict "root" .root "resources" $doctor.resources) | nindent 14 }}
              args: {{ concat (list "services/doctor/main.ts") .apps | toJson }}
              env:
                - { name: NAMESPACE, value: {{ .root.Release.Namespace }} }
                - { name: API_URL, value: {{ printf "http://%s:%d" .app (int .root.Values.service.port) }} }
                {{- include "common.secretEnv" (dict "name" "OPERATOR_TOKEN" "secret" $secrets.existingSecret "key" $secrets.keys.operatorToken) | nindent 16 }}
{{- end }}
{{- end }}
