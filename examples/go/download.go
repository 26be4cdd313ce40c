package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "example.com/quantize/quantdv1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func download(ctx context.Context, client pb.QuantizationServiceClient, job, folder string) error {
	request := &pb.ListArtifactFilesRequest{Job: job}
	for {
		page, err := client.ListArtifactFiles(ctx, request)
		if err != nil {
			return err
		}
		for _, file := range page.Files {
			if err := fetch(ctx, client, job, file, folder); err != nil {
				return err
			}
		}
		if page.NextPageToken == "" {
			return nil
		}
		request.PageToken = page.NextPageToken
	}
}

// fetch gets one file: complete under its name, or not there.
func fetch(ctx context.Context, client pb.QuantizationServiceClient, job string,
	file *pb.ArtifactFile, folder string) error {
	if !filepath.IsLocal(file.Path) {
		return fmt.Errorf("the server named a file outside the folder: %q", file.Path)
	}
	path := filepath.Join(folder, file.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	partial, err := os.Create(path + ".partial-" + file.Sha256[:16])
	if err != nil {
		return err
	}
	defer os.Remove(partial.Name())
	defer partial.Close()
	digest := sha256.New()
	var offset int64
	err = retried(ctx, func() (bool, error) {
		before := offset
		err := read(ctx, client, job, file, partial, digest, &offset)
		return offset > before, err
	})
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != file.Sha256 {
		return fmt.Errorf("%s is damaged: sha256 %s, wanted %s", file.Path, got, file.Sha256)
	}
	if err := errors.Join(partial.Sync(), partial.Close()); err != nil {
		return err
	}
	return os.Rename(partial.Name(), path)
}

// read takes one stream from offset on. A chunk that is not what its checksum says breaks it, and
// the next begins there again.
func read(ctx context.Context, client pb.QuantizationServiceClient, job string, file *pb.ArtifactFile,
	to io.Writer, digest hash.Hash, offset *int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.ReadArtifactFile(ctx, &pb.ReadArtifactFileRequest{
		Job: job, Path: file.Path, Offset: *offset})
	if err != nil {
		return err
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) && *offset == file.Bytes {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return status.Error(codes.Unavailable, "the server ended the stream")
		}
		if err != nil {
			return err
		}
		if chunk.Offset != *offset || crc32.Checksum(chunk.Data, castagnoli) != chunk.Crc32C {
			return status.Errorf(codes.Unavailable, "%s: a wrong chunk at %d", file.Path, *offset)
		}
		if _, err := to.Write(chunk.Data); err != nil {
			return err
		}
		digest.Write(chunk.Data)
		*offset += int64(len(chunk.Data))
	}
}
