{{- define "family-account.env" -}}
{{- $secrets := .Values.secrets -}}
{{ include "common.secretEnv" (dict "name" "MASTER_KEY" "secret" $secrets.existingSecret "key" $secrets.keys.masterKey) }}
{{ include "common.secretEnv" (dict "name" "OPERATOR_TOKEN" "secret" $secrets.existingSecret "key" $secrets.keys.operatorToken) }}
{{ include "common.secretEnv" (dict "name" "MEMBER_READER_TOKEN" "secret" $secrets.existingSecret "key" $secrets.keys.memberReaderToken) }}
- { name: MEMBER_APP_ID, value: {{ .Values.memberAppId | quote }} }
- { name: TRUST_PROXY, value: {{ .Values.trustProxy | quote }} }
{{- end }}
