package answer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func mustBe(t *testing.T, found []byte, wanted string) {
	t.Helper()
	if string(found) != wanted {
		t.Fatalf("found  %s\nwanted %s", found, wanted)
	}
}

func TestAnswersAreWholeJSON(t *testing.T) {
	mustBe(t, OK(map[string]int{"n": 1}), `{"ok":{"n":1}}`)
	mustBe(t, OK(nil), `{"ok":null}`)
	mustBe(t, OK(make(chan int)), `{"error":{"code":"panic","message":"the answer is no JSON: json: unsupported type: chan int"}}`)
	mustBe(t, Error(errors.New("odd")), `{"error":{"code":"panic","message":"odd"}}`)
	mustBe(t, Error(fmt.Errorf("around: %w", Faultf(Start, "bundle %q", "x"))), `{"error":{"code":"start","message":"bundle \"x\""}}`)
}

func TestRunAnswersWhatTheWorkComesTo(t *testing.T) {
	mustBe(t, Run(time.Second, func(context.Context) (any, error) { return 7, nil }), `{"ok":7}`)
	mustBe(t, Run(time.Second, func(context.Context) (any, error) { return nil, Faultf(Closed, "closed") }),
		`{"error":{"code":"closed","message":"closed"}}`)
	mustBe(t, Run(0, func(context.Context) (any, error) { return 7, nil }),
		`{"error":{"code":"usage","message":"a deadline above zero is required"}}`)
}

func TestRunRecoversFromAPanicAndNamesItsPlace(t *testing.T) {
	found := string(Run(time.Second, func(context.Context) (any, error) { panic("broken") }))
	if !strings.Contains(found, `"code":"panic"`) || !strings.Contains(found, "panic: broken at ") ||
		!strings.Contains(found, "TestRunRecoversFromAPanicAndNamesItsPlace") {
		t.Fatal(found)
	}
}

func TestRunLeavesOverdueWorkBehind(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	mustBe(t, Run(time.Millisecond, func(context.Context) (any, error) { <-release; return nil, nil }),
		`{"error":{"code":"deadline","message":"no answer within 1ms"}}`)
}

func TestRunLetsWorkSayWhyItStoppedAtItsDeadline(t *testing.T) {
	mustBe(t, Run(time.Millisecond, func(ctx context.Context) (any, error) {
		<-ctx.Done()
		return nil, Faultf(Start, "refused")
	}), `{"error":{"code":"start","message":"refused"}}`)
}
