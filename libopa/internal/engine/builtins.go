package engine

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Builtins by which policy could reach out of its process. They are guarded for the whole library before its
// first evaluator starts: which hosts are allowed is a property of the evaluator and travels in the context.
var (
	reaching = []string{ast.HTTPSend.Name, ast.NetLookupIPAddr.Name}
	// schemas are the builtins that follow references of a schema, with the operand that is one.
	schemas = map[string]int{ast.JSONMatchSchema.Name: 1, ast.JSONSchemaVerify.Name: 0}
)

type allowedHostsKey struct{}

func withAllowedHosts(ctx context.Context, hosts []string) context.Context {
	return context.WithValue(ctx, allowedHostsKey{}, hosts)
}

func allowedHosts(ctx context.Context) []string {
	hosts, _ := ctx.Value(allowedHostsKey{}).([]string)
	return hosts
}

// guardBuiltins replaces the implementations. It must run once and before anything is evaluated, because OPA's table
// of builtins is a plain map.
func guardBuiltins() {
	for _, name := range reaching {
		topdown.RegisterBuiltinFunc(name, restricted(name, topdown.GetBuiltin(name), refuseWithoutHosts))
	}
	for name, operand := range schemas {
		topdown.RegisterBuiltinFunc(name, restricted(name, topdown.GetBuiltin(name), refuseLeavingSchema(operand)))
	}
	topdown.RegisterBuiltinFunc(ast.OPARuntime.Name, refuse(ast.OPARuntime.Name))
}

func refuse(name string) topdown.BuiltinFunc {
	return func(bctx topdown.BuiltinContext, _ []*ast.Term, _ func(*ast.Term) error) error {
		return halt(bctx, name+" is refused: policy sees its input and data, nothing else")
	}
}

// halt ends the evaluation, whether or not builtin errors are strict, with the place of the call.
func halt(bctx topdown.BuiltinContext, message string) error {
	return topdown.Halt{Err: &topdown.Error{Code: topdown.BuiltinErr, Message: message, Location: bctx.Location}}
}

// restricted calls the original with the evaluator's allowed hosts as OPA's own allow_net, which OPA checks on
// every request, redirects and remote schemas included.
func restricted(
	name string, original topdown.BuiltinFunc, check func(string, []string, []*ast.Term) error,
) topdown.BuiltinFunc {
	return func(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		hosts := allowedHosts(bctx.Context)
		if err := check(name, hosts, operands); err != nil {
			return halt(bctx, err.Error())
		}
		capabilities := ast.Capabilities{}
		if bctx.Capabilities != nil {
			capabilities = *bctx.Capabilities
		}
		capabilities.AllowNet = append([]string{}, hosts...)
		bctx.Capabilities = &capabilities
		return original(bctx, operands, iter)
	}
}

func refuseWithoutHosts(name string, hosts []string, operands []*ast.Term) error {
	if len(hosts) == 0 {
		return fmt.Errorf("%s is refused: no host is in policy.opa.allow_hosts", name)
	}
	request, ok := operands[0].Value.(ast.Object)
	if !ok {
		return nil // a name to look up, or an ill-typed request, which the original refuses
	}
	for _, key := range request.Keys() {
		// A file or a variable of this machine may hold what no answer should depend on, and no server should see.
		if option, ok := key.Value.(ast.String); ok && readsHere(string(option)) {
			return fmt.Errorf("%s is refused: %s is read from this machine; give the certificate itself", name, string(option))
		}
	}
	target, ok := request.Get(ast.StringTerm("url")).Value.(ast.String)
	if !ok {
		return fmt.Errorf("%s is refused: its url is no string", name)
	}
	parsed, err := url.Parse(string(target))
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return fmt.Errorf("%s is refused: only http and https addresses are allowed", name)
	}
	return nil
}

func readsHere(option string) bool {
	return strings.HasSuffix(option, "_file") || strings.HasSuffix(option, "_env_variable")
}

// refuseLeavingSchema refuses a schema that names anything outside itself: OPA's allow_net holds for http alone, and a
// file of this machine would be opened, and quoted in what a rule finds.
func refuseLeavingSchema(operand int) func(string, []string, []*ast.Term) error {
	return func(name string, _ []string, operands []*ast.Term) error {
		schema := operands[operand].Value
		if text, ok := schema.(ast.String); ok {
			parsed, err := ast.ValueFromReader(strings.NewReader(string(text)))
			if err != nil {
				return nil // no schema, which the original refuses
			}
			schema = parsed
		}
		if reference := leavingReference(schema); reference != "" {
			return fmt.Errorf("%s is refused: its schema leads out of itself by %s", name, reference)
		}
		return nil
	}
}

// leavingReference finds a reference out of a schema, at any depth: one that stands where no schema is looked for can
// be led to by another. It answers an empty text where there is none.
func leavingReference(schema ast.Value) (found string) {
	ast.WalkTerms(ast.NewTerm(schema), func(term *ast.Term) bool {
		object, ok := term.Value.(ast.Object)
		if !ok {
			return found != ""
		}
		object.Foreach(func(key, value *ast.Term) {
			name, ok := key.Value.(ast.String)
			target, isText := value.Value.(ast.String)
			if ok && isText && leaves(strings.ToLower(string(name)), string(target)) {
				found = fmt.Sprintf("%s %q", string(name), string(target))
			}
		})
		return found != ""
	})
	return found
}

// leaves says whether a key of a schema names another place: every $ref but one into the schema itself, and a base
// ($id, or id of draft 4) that a relative reference would be joined to.
func leaves(key, target string) bool {
	switch key {
	case "$ref":
		return !strings.HasPrefix(target, "#")
	case "$id", "id":
		return strings.ContainsAny(target, ":/\\")
	}
	return false
}
