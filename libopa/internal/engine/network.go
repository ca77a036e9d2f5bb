package engine

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// goesElsewhere are the headers that another server than the one that was named may see. All others, those of `headers`
// and of `credentials` among them, were given for that one.
var goesElsewhere = map[string]bool{
	"Accept":          true,
	"Accept-Encoding": true,
	"If-None-Match":   true,
	"Prefer":          true,
	"Range":           true,
	"User-Agent":      true,
}

// guardTransport makes OPA's clients, which all copy Go's default transport, keep what they send to the server that it
// is for. It does so where a request gets its route, the one place that sees each with the headers that will be sent:
// OPA's client of registries adds its credentials again after every redirect. A connection of HTTP/2 that is open is
// used without asking for a route, so there is none.
func guardTransport() {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return
	}
	transport.Proxy = route
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
}

// route gives the proxy of a request: that of the environment for https, none for http, whose proxy would read it all.
func route(request *http.Request) (*url.URL, error) {
	if err := keepFromOthers(request); err != nil {
		return nil, err
	}
	if request.URL.Scheme != "https" {
		return nil, nil
	}
	return http.ProxyFromEnvironment(request)
}

// keepFromOthers takes what is for the first server of a chain of redirects out of a request to another, also where the
// chain comes back. It refuses to go from https to http, where anybody could answer, and to take a body along: that of a
// request for a token holds a secret.
func keepFromOthers(request *http.Request) error {
	chain := []*url.URL{request.URL}
	for earlier := request.Response; earlier != nil && earlier.Request != nil; earlier = earlier.Request.Response {
		chain = append(chain, earlier.Request.URL)
	}
	first := chain[len(chain)-1]
	if first.Scheme == "https" && request.URL.Scheme != "https" {
		return fmt.Errorf("the server redirects from https to %s, which is not followed", request.URL.Scheme)
	}
	for _, step := range chain {
		if originOf(step) == originOf(first) {
			continue
		}
		if request.Body != nil && request.Body != http.NoBody {
			return fmt.Errorf("the server redirects to %s what was sent to it, which is not followed", originOf(request.URL))
		}
		for name := range request.Header {
			if !goesElsewhere[name] {
				request.Header.Del(name)
			}
		}
		break
	}
	return nil
}

func originOf(address *url.URL) string {
	port := address.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[address.Scheme]
	}
	return address.Scheme + "://" + strings.ToLower(address.Hostname()) + ":" + port
}
