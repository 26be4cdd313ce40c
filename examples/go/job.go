package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "example.com/quantize/quantdv1"
)

// patience is how long a server that went away is waited for.
const patience = 2 * time.Minute

// retried calls f until it succeeds, fails for good, or patience has passed since its last progress,
// which f reports by its first result.
func retried(ctx context.Context, f func() (progress bool, err error)) error {
	wait, since := 100*time.Millisecond, time.Now()
	for {
		progress, err := f()
		if progress {
			wait, since = 100*time.Millisecond, time.Now()
		}
		if err == nil || status.Code(err) != codes.Unavailable || time.Since(since) > patience {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait = min(2*wait, 2*time.Second)
		}
	}
}

// uuid is a random one (version 4): with it another try of CreateJob makes no second job.
func uuid() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func submit(ctx context.Context, client pb.QuantizationServiceClient,
	spec *pb.JobSpec) (job *pb.Job, err error) {
	request := &pb.CreateJobRequest{Job: &pb.Job{Spec: spec}, RequestId: uuid()}
	err = retried(ctx, func() (bool, error) {
		job, err = client.CreateJob(ctx, request)
		return false, err
	})
	return job, err
}

func final(state pb.Job_State) bool {
	return state == pb.Job_SUCCEEDED || state == pb.Job_FAILED || state == pb.Job_CANCELLED
}

// watch prints progress until the job is final. A stream that broke is taken up after its last
// event.
func watch(ctx context.Context, client pb.QuantizationServiceClient, name string) error {
	var last int64
	return retried(ctx, func() (progress bool, err error) {
		request := &pb.WatchJobRequest{Name: name, AfterSequence: last}
		stream, err := client.WatchJob(ctx, request)
		if err != nil {
			return false, err
		}
		for {
			event, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return progress, status.Error(codes.Unavailable, "the server ended the stream")
			}
			if err != nil {
				return progress, err
			}
			last, progress = event.Sequence, true
			switch {
			case event.GetProgress() != nil:
				p := event.GetProgress()
				fmt.Fprintf(os.Stderr, "%s %d of %d blocks\n", p.Stage, p.BlocksDone, p.BlocksTotal)
			case event.GetWarning() != nil:
				fmt.Fprintln(os.Stderr, "warning:", event.GetWarning().Text)
			case event.GetStateChange() != nil:
				fmt.Fprintln(os.Stderr, name, event.GetStateChange().State)
				if final(event.GetStateChange().State) {
					return true, nil
				}
			}
		}
	})
}

// explain says what an error of the server was about: reason, field, got and wanted.
func explain(err error) string {
	text := err.Error()
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			text += "\n  reason " + detail.Reason
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				text += fmt.Sprintf("\n  %s: %s", violation.Field, violation.Description)
			}
		}
	}
	return text
}
