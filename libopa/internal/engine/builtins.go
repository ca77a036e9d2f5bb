package engine

import (
	"context"
	"fmt"
	"net/url"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Builtins by which policy could reach out of its process. They are guarded for the whole library before its
// first evaluator starts: which hosts are allowed is a property of the evaluator and travels in the context.
var (
	reaching = []string{ast.HTTPSend.Name, ast.NetLookupIPAddr.Name}
	schemas  = []string{ast.JSONMatchSchema.Name, ast.JSONSchemaVerify.Name} // fetch a remote $ref
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
	for _, name := range schemas {
		topdown.RegisterBuiltinFunc(name, restricted(name, topdown.GetBuiltin(name), nil))
	}
	for name, reason := range sized {
		topdown.RegisterBuiltinFunc(name, limited(name, topdown.GetBuiltin(name), reason))
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
		if check != nil {
			if err := check(name, hosts, operands); err != nil {
				return halt(bctx, err.Error())
			}
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
