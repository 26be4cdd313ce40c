// Quantizes a model by quantd and downloads it: submit, watch, fetch, each going on where a
// connection broke.
//
//	quantize -server host:8470 -model /models/my-model -method awq -bits 4 -out out
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	pb "example.com/quantize/quantdv1"
)

// token says who calls, in every call; grpc sends it over TLS alone.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

func (token) RequireTransportSecurity() bool { return true }

func connect(server string, useTLS bool) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if useTLS {
		options[0] = grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{}))
		if secret := os.Getenv("QUANTD_TOKEN"); secret != "" {
			options = append(options, grpc.WithPerRPCCredentials(token(secret)))
		}
	}
	return grpc.NewClient(server, options...)
}

func run(ctx context.Context) error {
	server := flag.String("server", os.Getenv("QUANTD_SERVER"), "HOST:PORT")
	useTLS := flag.Bool("tls", false, "TLS by the system's authorities; QUANTD_TOKEN is sent")
	model := flag.String("model", "", "folder of the model as the server sees it")
	method := flag.String("method", "rtn", "quantization method")
	bits := flag.Int("bits", 4, "bits per weight")
	groupSize := flag.Int64("group-size", 0, "inputs that share a scale; 0: the method's own")
	windows := flag.Int64("eval-windows", 64, "windows of the evaluation")
	gateKL := flag.Float64("gate-kl", 0, "fail when the mean KL is above this; 0: no gate")
	out := flag.String("out", "out", "folder for the result")
	flag.Parse()

	connection, err := connect(*server, *useTLS)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewQuantizationServiceClient(connection)

	scheme := &pb.Scheme{Method: *method, Bits: ptr(int32(*bits))}
	if *groupSize != 0 {
		scheme.GroupSize = groupSize
	}
	evaluation := &pb.Evaluation{Windows: windows}
	if *gateKL != 0 {
		evaluation.Gate = &pb.QualityGate{MaxMeanKl: gateKL}
	}
	job, err := submit(ctx, client, &pb.JobSpec{
		Model:      &pb.ModelSource{Source: &pb.ModelSource_Path{Path: *model}},
		Recipe:     &pb.Recipe{DefaultScheme: scheme},
		Evaluation: evaluation,
	})
	if err != nil {
		return err
	}
	if err := watch(ctx, client, job.Name); err != nil {
		return err
	}
	job, err = client.GetJob(ctx, &pb.GetJobRequest{Name: job.Name})
	if err != nil {
		return err
	}
	if job.State != pb.Job_SUCCEEDED {
		return fmt.Errorf("%s %s: %s: %s", job.Name, job.State, job.Error.GetReason(),
			job.Error.GetMessage())
	}
	fmt.Printf("%s: mean KL %.5f, %.3f bits per weight\n", job.Name,
		job.Result.Evaluation.KlMean, job.Result.BitsPerWeight)
	return download(ctx, client, job.Name, *out)
}

func ptr[T any](value T) *T { return &value }

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "quantize:", explain(err))
		os.Exit(1)
	}
}
