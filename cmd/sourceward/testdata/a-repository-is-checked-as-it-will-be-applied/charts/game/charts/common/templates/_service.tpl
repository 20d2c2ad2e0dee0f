{{- define "common.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .Chart.Name }}
spec:
  type: ClusterIP
  externalTrafficPolicy: Local
  selector: {app: {{ .Chart.Name }}}
  ports: [{port: 80}]
{{- end }}
