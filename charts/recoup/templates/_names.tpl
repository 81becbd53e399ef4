{{- define "recoup.labels" -}}
app.kubernetes.io/name: recoup
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "recoup.selector" -}}
app.kubernetes.io/name: recoup
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end }}

{{- define "recoup.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "recoup.check" -}}
{{- if eq .Release.Namespace .Values.movers.namespace -}}
{{- fail (printf "movers.namespace must not be the release's namespace %s: the controller reads Secrets in the one and must not in the other" .Release.Namespace) -}}
{{- end -}}
{{- end }}
