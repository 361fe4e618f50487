{{- define "member.env" -}}
{{- $secrets := .Values.secrets -}}
{{ include "common.secretEnv" (dict "name" "MASTER_KEY" "secret" $secrets.existingSecret "key" $secrets.keys.masterKey) }}
{{ include "common.secretEnv" (dict "name" "OPERATOR_TOKEN" "secret" $secrets.existingSecret "key" $secrets.keys.operatorToken) }}
{{ include "common.secretEnv" (dict "name" "READER_TOKENS" "secret" $secrets.existingSecret "key" $secrets.keys.readerTokens) }}
{{ include "common.secretEnv" (dict "name" "IDENTITY_PROVIDER_SECRET" "secret" $secrets.existingSecret "key" $secrets.keys.identityProviderSecret) }}
- { name: IDENTITY_PROVIDER_URL, value: {{ .Values.identityProviderUrl | quote }} }
- { name: TRUST_PROXY, value: {{ .Values.trustProxy | quote }} }
{{- end }}
