package render

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// certificate is what the functions of templates that make certificates return.
type certificate struct{ Cert, Key string }

// constant returns what replaces the functions of templates that depend on chance, on the clock or on the order of
// a map. Secrets are as long as real ones, but are obviously none.
func constant() template.FuncMap {
	repeated := func(text string) func(int) string {
		return func(count int) string { return strings.Repeat(text, max(count, 0)) }
	}
	pem := func(label string) string {
		return "-----BEGIN " + label + "-----\nAAAA\n-----END " + label + "-----\n"
	}
	made := certificate{Cert: pem("CERTIFICATE"), Key: pem("RSA PRIVATE KEY")}
	makes := func(...any) certificate { return made }
	return template.FuncMap{
		"randAlphaNum": repeated("x"),
		"randAlpha":    repeated("x"),
		"randAscii":    repeated("x"),
		"randNumeric":  repeated("1"),
		"randBytes": func(count int) string {
			return base64.StdEncoding.EncodeToString(make([]byte, max(count, 0)))
		},
		"randInt": func(least, _ int) int { return least },
		"shuffle": func(text string) string { return text },
		"uuidv4":  func() string { return "00000000-0000-4000-8000-000000000000" },

		"bcrypt":     func(string) string { return bcrypted },
		"htpasswd":   func(user, _ string) string { return user + ":" + bcrypted },
		"encryptAES": func(_, text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) },
		"decryptAES": func(_, text string) (string, error) {
			decoded, err := base64.StdEncoding.DecodeString(text)
			return string(decoded), err
		},

		"genPrivateKey":            func(string) string { return made.Key },
		"genCA":                    makes,
		"genCAWithKey":             makes,
		"genSelfSignedCert":        makes,
		"genSelfSignedCertWithKey": makes,
		"genSignedCert":            makes,
		"genSignedCertWithKey":     makes,
		"buildCustomCert": func(cert, key string) (certificate, error) {
			decodedCert, err := base64.StdEncoding.DecodeString(cert)
			if err != nil {
				return certificate{}, err
			}
			decodedKey, err := base64.StdEncoding.DecodeString(key)
			return certificate{string(decodedCert), string(decodedKey)}, err
		},

		"now":            func() time.Time { return now },
		"ago":            func(date any) string { return now.Sub(dateOf(date)).Round(time.Second).String() },
		"date":           func(layout string, date any) string { return dateOf(date).Format(layout) },
		"dateInZone":     func(layout string, date any, _ string) string { return dateOf(date).Format(layout) },
		"date_in_zone":   func(layout string, date any, _ string) string { return dateOf(date).Format(layout) },
		"htmlDate":       func(date any) string { return dateOf(date).Format(time.DateOnly) },
		"htmlDateInZone": func(date any, _ string) string { return dateOf(date).Format(time.DateOnly) },
		"toDate": func(layout, text string) time.Time {
			date, _ := time.Parse(layout, text)
			return date
		},
		"mustToDate": time.Parse,
		"durationRound": func(duration any) string {
			if since, isTime := duration.(time.Time); isTime {
				duration = int64(now.Sub(since))
			}
			return sprig.TxtFuncMap()["durationRound"].(func(any) string)(duration)
		},

		"keys": func(dictionaries ...map[string]any) []string {
			keys := []string{}
			for _, dictionary := range dictionaries {
				keys = append(keys, slices.Sorted(maps.Keys(dictionary))...)
			}
			return keys
		},
		"values": func(dictionary map[string]any) []any {
			values := []any{}
			for _, key := range slices.Sorted(maps.Keys(dictionary)) {
				values = append(values, dictionary[key])
			}
			return values
		},
	}
}

// bcrypted is as long as what bcrypt returns.
const bcrypted = "$2a$10$xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

// now is the time in all templates.
var now = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)

// dateOf returns the time that a function of templates takes date for, in UTC: a child knows no other zone. All that is
// no date is now.
func dateOf(date any) time.Time {
	switch date := date.(type) {
	case time.Time:
		return date.UTC()
	case *time.Time:
		return date.UTC()
	case int:
		return time.Unix(int64(date), 0).UTC()
	case int32:
		return time.Unix(int64(date), 0).UTC()
	case int64:
		return time.Unix(date, 0).UTC()
	}
	return now
}
