package engine

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/flowyml/flowyml-policy/libopa/internal/answer"
)

// confined are the builtins of OPA that open no file and no address, each looked at. time.* reads the time zones of the
// machine by name, which OPA takes none for that is a path.
const confined = `
abs all and any array.concat array.flatten array.reverse array.slice assign base64.decode base64.encode
base64.is_valid base64url.decode base64url.encode base64url.encode_no_pad bits.and bits.lsh bits.negate
bits.or bits.rsh bits.xor cast_array cast_boolean cast_null cast_object cast_set cast_string ceil concat
contains count crypto.hmac.equal crypto.hmac.md5 crypto.hmac.sha1 crypto.hmac.sha256 crypto.hmac.sha512
crypto.md5 crypto.parse_private_keys crypto.sha1 crypto.sha256 crypto.x509.parse_and_verify_certificates
crypto.x509.parse_and_verify_certificates_with_options crypto.x509.parse_certificate_request
crypto.x509.parse_certificates crypto.x509.parse_keypair crypto.x509.parse_rsa_private_key div endswith eq
equal floor format_int glob.match glob.quote_meta graph.reachable graph.reachable_paths graphql.is_valid
graphql.parse graphql.parse_and_verify graphql.parse_query graphql.parse_schema graphql.schema_is_valid gt gte
hex.decode hex.encode indexof indexof_n internal.member_2 internal.member_3 internal.print
internal.template_string internal.test_case intersection io.jwt.decode io.jwt.decode_verify io.jwt.encode_sign
io.jwt.encode_sign_raw io.jwt.verify_eddsa io.jwt.verify_es256 io.jwt.verify_es384 io.jwt.verify_es512
io.jwt.verify_hs256 io.jwt.verify_hs384 io.jwt.verify_hs512 io.jwt.verify_ps256 io.jwt.verify_ps384
io.jwt.verify_ps512 io.jwt.verify_rs256 io.jwt.verify_rs384 io.jwt.verify_rs512 is_array is_boolean is_null
is_number is_object is_set is_string json.filter json.is_valid json.marshal json.marshal_with_options
json.patch json.remove json.unmarshal lower lt lte max min minus mul neq net.cidr_contains
net.cidr_contains_matches net.cidr_expand net.cidr_intersects net.cidr_is_valid net.cidr_merge
net.cidr_overlap numbers.range numbers.range_step object.filter object.get object.keys object.remove
object.subset object.union object.union_n or plus print product providers.aws.sign_req rand.intn re_match
regex.find_all_string_submatch_n regex.find_n regex.globs_match regex.is_valid regex.match regex.replace
regex.split regex.template_match rego.metadata.chain rego.metadata.rule rego.parse_module rem replace round
semver.compare semver.is_valid set_diff sort split sprintf startswith strings.any_prefix_match
strings.any_suffix_match strings.count strings.render_template strings.replace_n strings.reverse
strings.split_n substring sum time.add_date time.clock time.date time.diff time.format time.now_ns
time.parse_duration_ns time.parse_ns time.parse_rfc3339_ns time.weekday to_number trace trim trim_left
trim_prefix trim_right trim_space trim_suffix type_name union units.parse units.parse_bytes upper uri.is_valid
uri.parse urlquery.decode urlquery.decode_object urlquery.encode urlquery.encode_object uuid.parse
uuid.rfc4122 walk yaml.is_valid yaml.marshal yaml.unmarshal
`

func TestBuiltinsAreEachConfinedOrGuarded(t *testing.T) {
	guarded := append([]string{ast.OPARuntime.Name}, reaching...)
	for name := range schemas {
		guarded = append(guarded, name)
	}
	classified := append(strings.Fields(confined), guarded...)
	for _, builtin := range ast.Builtins {
		if !slices.Contains(classified, builtin.Name) {
			t.Errorf("%s is a builtin that nobody has classified: does it open a file or an address?", builtin.Name)
		}
	}
}

func TestSchemaThatLeavesItselfIsRefused(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret.json")
	must(t, os.WriteFile(secret, []byte(`{"const": "K3y-of-mine"}`), 0o600))
	evaluator := started(t, settings(map[string]string{"flowyml": archive(t, shipped(files{"schemas.rego": `package flowyml.schemas

matches := json.match_schema(input.document, input.schema)

verifies := json.verify_schema(input.schema)
`}))}))
	for _, schema := range []string{
		`{"$ref": "file://%s"}`,
		`{"$ref": "FILE://%s"}`,
		`{"$REF": "file://%s"}`,
		`{"$id": "file://%s", "$ref": "#"}`,
		`{"$id": "file:///%s", "$ref": "secret.json"}`,
		`{"id": "file://%s", "properties": {"a": {"$ref": "#/b"}}}`,
		`{"const": {"b": {"$ref": "file://%s"}}, "$ref": "#/const/b"}`,
		`{"allOf": [{"not": {"anyOf": [{"$ref": "file://%s"}]}}]}`,
		`{"$ref": "http://127.0.0.1:1/%s"}`,
		`{"$ref": "%s"}`,
	} {
		schema = fmt.Sprintf(schema, secret)
		text, err := json.Marshal(schema)
		must(t, err)
		for _, given := range []string{schema, string(text)} {
			for _, path := range []string{"flowyml/schemas/matches", "flowyml/schemas/verifies"} {
				found := decide(t, evaluator, path, `{"document": {"a": 1}, "schema": `+given+`}`)
				if found.Error == nil || found.Error.Code != answer.Evaluation ||
					!strings.Contains(found.Error.Message, "leads out of itself") || strings.Contains(found.Error.Message, "K3y") {
					t.Errorf("%s %s: %+v %+v", path, given, found.Error, found.OK)
				}
			}
		}
	}
	for _, schema := range []string{
		`{"$ref": "#/definitions/a", "definitions": {"a": {"type": "object"}}}`,
		`{"properties": {"id": {"type": "string"}, "a": {"const": {"id": "x"}}}}`,
	} {
		if found := decide(t, evaluator, "flowyml/schemas/verifies", `{"schema": `+schema+`}`); found.OK == nil {
			t.Errorf("%s: %+v", schema, found.Error)
		}
	}
}

func TestRequestThatReadsThisMachineIsRefused(t *testing.T) {
	policy := archive(t, shipped(files{"ask.rego": `package flowyml.ask

sent := http.send(object.union({"method": "get", "url": "https://127.0.0.1:1"}, input))
`}))
	made := settings(map[string]string{"flowyml": policy})
	made.AllowHosts = []string{"127.0.0.1"}
	evaluator := started(t, made)
	for _, option := range []string{"tls_ca_cert_file", "tls_client_cert_file", "tls_client_key_file", "tls_ca_cert_env_variable"} {
		found := decide(t, evaluator, "flowyml/ask/sent", fmt.Sprintf(`{%q: "/etc/passwd", "raise_error": false}`, option))
		if found.Error == nil || !strings.Contains(found.Error.Message, "http.send is refused: "+option+" is read from this machine") {
			t.Errorf("%s: %+v %+v", option, found.Error, found.OK)
		}
	}
}
