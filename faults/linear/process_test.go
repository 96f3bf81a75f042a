package linear

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/evsourcing/evsourcing/sqlite"
)

// childFile names the file that a process serves, if it is one of those that the tests
// start and kill.
const childFile = "EVSOURCING_LINEAR_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		if err := serve(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if cluster != nil {
		cluster.Remove()
	}
	os.Exit(code)
}

var quiet = slog.New(slog.DiscardHandler)

// serve opens the file and does what is asked for at the standard input, until that ends.
func serve(path string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := sqlite.Open(path, &sqlite.Options{Logger: quiet})
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("store", &service{ctx, local{s}}); err != nil {
		return err
	}
	server.ServeConn(pipes{os.Stdin, os.Stdout})
	return s.Close(ctx)
}

// A service does what other processes ask for.
type service struct {
	ctx      context.Context
	endpoint endpoint
}

// Do does one operation.
func (s *service) Do(q Request, p *Response) error {
	*p = s.endpoint.do(s.ctx, q)
	return nil
}

// pipes are both ends of a connection.
type pipes struct {
	io.ReadCloser
	io.Writer
}

// A process is an endpoint in another process, which may be killed.
type process struct {
	path   string
	cmd    *exec.Cmd // of who starts and kills it
	client atomic.Pointer[rpc.Client]
}

// start starts the process. It may be called while others use the endpoint.
func (r *process) start() error {
	r.cmd = exec.Command(os.Args[0])
	r.cmd.Env = append(os.Environ(), childFile+"="+r.path)
	r.cmd.Stderr = os.Stderr
	in, err := r.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := r.cmd.Start(); err != nil {
		return err
	}
	r.client.Store(rpc.NewClient(pipes{out, in}))
	return nil
}

// kill ends the process by SIGKILL.
func (r *process) kill() error {
	if err := r.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = r.cmd.Wait() // says that it was killed
	return nil
}

// do implements [endpoint]. If the process dies before the answer has come, nobody knows
// what has happened.
func (r *process) do(ctx context.Context, q Request) Response {
	var p Response
	call := r.client.Load().Go("store.Do", q, &p, make(chan *rpc.Call, 1))
	var err error
	select {
	case <-call.Done:
		err = call.Error
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch {
	case err == nil:
		return p
	case q.Kind != Append, errors.Is(err, rpc.ErrShutdown): // it was dead before
		return Response{Outcome: Refused, Err: err.Error()}
	}
	return Response{Outcome: Ambiguous, Err: err.Error()}
}
