package main_test

import (
	"flag"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

var screenshots = flag.String("screenshots", "", "write pictures of the page of traffic here, for make test-long")

// TestScreenshots shows the page of traffic in Chromium, 1280 and 390 pixels wide, light and dark, and writes a picture
// of each. Nothing may be wider than the page: a phone would scroll to the side.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("runs with -screenshots FOLDER, where there is Chromium")
	}
	dir := t.TempDir()
	web, err := filepath.Abs("../../config/samples/edge/web.yaml")
	if err != nil {
		t.Fatal(err)
	}
	of := run(t, command(t, dir, "traffic", "--placement", "web=node-a:3,node-b:1,node-c:0", "-o", "html", web))
	if of.Code != 0 {
		t.Fatalf("%+v", of)
	}
	if err := os.MkdirAll(*screenshots, 0o755); err != nil {
		t.Fatal(err)
	}
	for scheme, setting := range map[string]string{"dark": "0", "light": "1"} {
		for _, width := range []int{1280, 390} {
			// A window has a least width, but a frame in it has not.
			frame := fmt.Sprintf(`<body style="margin: 0"><iframe width="%d" height="1800" style="border: 0" `+
				`onload="const d = contentDocument.documentElement; `+
				`document.title = (d.scrollWidth - d.clientWidth) + ' pixels too wide, ' + `+
				`d.querySelectorAll('table').length + ' tables'" `+
				`srcdoc="%s"></iframe>`, width, html.EscapeString(of.Stdout))
			page := filepath.Join(dir, "frame.html")
			if err := os.WriteFile(page, []byte(frame), 0o600); err != nil {
				t.Fatal(err)
			}
			picture := filepath.Join(*screenshots, fmt.Sprintf("traffic-%d-%s.png", width, scheme))
			out, err := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu",
				"--user-data-dir="+filepath.Join(dir, "profile"), "--blink-settings=preferredColorScheme="+setting,
				fmt.Sprintf("--window-size=%d,1800", max(width, 500)), "--screenshot="+picture, "--dump-dom", page).Output()
			if err != nil {
				t.Fatalf("chromium: %v\n%s", err, out)
			}
			title := regexp.MustCompile(`<title>(.*?)</title>`).FindSubmatch(out)
			const want = "0 pixels too wide, 3 tables"
			if title == nil || string(title[1]) != want {
				t.Errorf("the page in %s has %q, want %q", picture, title, want)
			}
			if info, err := os.Stat(picture); err != nil || info.Size() == 0 {
				t.Errorf("there is no picture %s: %v", picture, err)
			}
		}
	}
}
