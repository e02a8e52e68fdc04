#!/usr/bin/env bash
# Makes the .ptx files beside this script from the .cu files; needs nvcc (13.0 made those here).
set -euo pipefail
cd "$(dirname "$0")"
for file in *.cu; do
  nvcc -ptx -arch=sm_80 -O3 -o "${file%.cu}.ptx" "$file"
done
