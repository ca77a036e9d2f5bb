package engine

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// redirected is a request by the last of addresses, to which all before it led, with every header that it could have.
func redirected(t *testing.T, addresses ...string) *http.Request {
	t.Helper()
	var previous *http.Request
	for _, address := range addresses {
		request, err := http.NewRequest(http.MethodGet, address, nil)
		must(t, err)
		for _, name := range []string{"Accept", "Authorization", "If-None-Match", "Referer", "X-Amz-Security-Token", "X-Key"} {
			request.Header.Set(name, "x")
		}
		if previous != nil {
			request.Response = &http.Response{Request: previous}
		}
		previous = request
	}
	return previous
}

func TestRedirectsKeepWhatIsForOneServerFromOthers(t *testing.T) {
	const all, few = "Accept Authorization If-None-Match Referer X-Amz-Security-Token X-Key", "Accept If-None-Match"
	for addresses, wanted := range map[string]string{
		"https://a.example/x":                                           all,
		"https://a.example/x https://A.example:443/y":                   all,
		"https://a.example/x https://a.example:444/x":                   few,
		"https://a.example/x https://s.a.example/x":                     few,
		"https://a.example/x https://b.example/x https://a.example/z":   few,
		"http://a.example/x https://a.example/x":                        few,
		"http://a.example/x http://a.example:80/y http://a.example:8/y": few,
	} {
		request := redirected(t, strings.Fields(addresses)...)
		if err := keepFromOthers(request); err != nil {
			t.Errorf("%s: %v", addresses, err)
		}
		if found := strings.Join(slices.Sorted(maps.Keys(request.Header)), " "); found != wanted {
			t.Errorf("%s: sent %s", addresses, found)
		}
	}
	for _, addresses := range []string{
		"https://a.example/x http://a.example/x", "https://a.example/x https://a.example/y http://b.example/x",
	} {
		if keepFromOthers(redirected(t, strings.Fields(addresses)...)) == nil {
			t.Errorf("%s: followed", addresses)
		}
	}
}

// A request for a token holds the secret in its body, which Go sends again after a 307 or 308.
func TestRedirectsTakeNoBodyElsewhere(t *testing.T) {
	for addresses, goes := range map[string]bool{
		"https://a.example/x https://a.example/y": true,
		"https://a.example/x https://b.example/x": false,
		"http://a.example/x https://a.example/x":  false,
	} {
		request := redirected(t, strings.Fields(addresses)...)
		request.Body = io.NopCloser(strings.NewReader("client_secret=x"))
		if err := keepFromOthers(request); (err == nil) != goes {
			t.Errorf("%s: %v", addresses, err)
		}
	}
}

func TestPlainHTTPGoesThroughNoProxy(t *testing.T) {
	guardTransport()
	transport, _ := http.DefaultTransport.(*http.Transport)
	for _, clone := range []*http.Transport{transport, transport.Clone()} {
		through, err := clone.Proxy(&http.Request{URL: &url.URL{Scheme: "http", Host: "policy.example"}})
		if through != nil || err != nil || clone.Protocols.HTTP2() || !clone.Protocols.HTTP1() {
			t.Errorf("through %v: %v, %v", through, err, clone.Protocols)
		}
	}
}
