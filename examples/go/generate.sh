#!/usr/bin/env bash
# Makes quantdv1/ from proto/. Needs protoc, and on the PATH:
#   go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.10
#   go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
protos=${1:-../../proto}
module=$(sed -n 's/^module //p' go.mod)

options=()
for file in "$protos"/quantd/v1/*.proto; do
  options+=("--go_opt=Mquantd/v1/${file##*/}=$module/quantdv1" "--go-grpc_opt=Mquantd/v1/${file##*/}=$module/quantdv1")
done
for file in field_behavior resource; do
  package=google.golang.org/genproto/googleapis/api/annotations
  options+=("--go_opt=Mgoogle/api/$file.proto=$package" "--go-grpc_opt=Mgoogle/api/$file.proto=$package")
done
protoc -I "$protos" --go_out=. "--go_opt=module=$module" --go-grpc_out=. "--go-grpc_opt=module=$module" "${options[@]}" \
  "$protos"/quantd/v1/*.proto
