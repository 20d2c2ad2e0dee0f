{{/* The labels of every object. */}}
{{- define "sourceward.labels" -}}
{{ include "sourceward.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The labels that select the pods. */}}
{{- define "sourceward.selectorLabels" -}}
app.kubernetes.io/name: sourceward
app.kubernetes.io/component: webhook
{{- end }}

{{/* The subjects of every binding. */}}
{{- define "sourceward.subjects" -}}
- kind: ServiceAccount
  name: sourceward-webhook
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/*
The webhooks of a configuration, from the list that is generated. The name of a webhook begins with what it is for.
Those for scales and autoscalers have no values of their own: they only warn.
*/}}
{{- define "sourceward.webhooks" -}}
{{- $warns := set (deepCopy .Values.webhooks.workloads) "failurePolicy" "Ignore" }}
{{- range .webhooks }}
{{- $own := get $.Values.webhooks (regexFind "^[a-z]+" .name) | default $warns }}
- name: {{ .name }}
  clientConfig:
    service:
      name: {{ .clientConfig.service.name }}
      namespace: {{ $.Release.Namespace }}
      path: {{ .clientConfig.service.path }}
    {{- with $.Values.certificates.caBundle }}
    caBundle: {{ . | b64enc }}
    {{- end }}
  failurePolicy: {{ $own.failurePolicy }}
  timeoutSeconds: {{ $own.timeoutSeconds }}
  {{- if .namespaceSelector }}
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: NotIn
        values: {{ append $.Values.excludedNamespaces $.Release.Namespace | uniq | toJson }}
  {{- end }}
  {{- omit . "name" "clientConfig" "failurePolicy" "timeoutSeconds" "namespaceSelector" | toYaml | nindent 2 }}
{{- end }}
{{- end }}
