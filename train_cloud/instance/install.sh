#!/usr/bin/env bash
# Makes the fetched code a running instance: guards first, then the Python environment (restored from the bucket or
# built once and stored there), then secrets and services. boot.sh sources it, so that its trap covers every line here;
# by hand, `sudo bash /opt/ac-training/code/train_cloud/instance/install.sh` repairs what is missing or broken: each
# step looks at what is there first. It starts no service on an instance that is about to end.
set -Eeuo pipefail

if ! declare -F end_instance >/dev/null; then
  # shellcheck source=train_cloud/instance/lifeline.sh
  source "${AC_ROOT:-}/usr/local/lib/ac-training/lifeline.sh"
  umask 022
  AC_OPT=$AC_ROOT/opt/ac-training
  fail() {
    say error "$1"
    exit 1
  }
fi
CODE=$AC_OPT/code ENVIRONMENT=$AC_OPT/env
PYTHON=$ENVIRONMENT/bin/python
PYTORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
GUARDS=(ac-spot-watch.service ac-drain.path ac-end.path ac-overdue.timer)
SERVICES=(ac-farewell.service ac-receiver.service ac-training.service ac-driver.service ac-tensorboard.service ac-dashboard.service
  ac-minute.timer ac-checkpoint.path ac-token.path ac-certificate.timer)

install_units() {
  local units=$CODE/train_cloud/instance/units system=$AC_ROOT/etc/systemd/system
  install --directory "$system/ac-.service.d" "$AC_ROOT/etc/tmpfiles.d"
  install --mode=0644 "$units"/*.service "$units"/*.path "$units"/*.timer "$system/"
  install --mode=0644 "$units"/ac-.service.d/*.conf "$system/ac-.service.d/"
  install --mode=0644 "$units/ac-training.tmpfiles.conf" "$AC_ROOT/etc/tmpfiles.d/ac-training.conf"
}

write_unit_settings() { # what units take from instance.json and from us
  local settings
  settings=$(python3 - "$AC_ETC/instance.json" <<'PY'
import json
import sys

with open(sys.argv[1]) as file:
    settings = json.load(file)
for name, default in (("tensorboard_host", "127.0.0.1"), ("dashboard_host", "127.0.0.1"), ("dashboard_port", 8766)):
    print(f"AC_{name.upper()}='{settings.get(name, default)}'")
PY
  )
  printf '%s\n' "$settings" "AC_ENVIRONMENT_KEY='$KEY'" >"$AC_ETC/units.env"
}

start_guards() {
  systemctl daemon-reload
  systemctl enable --quiet "${GUARDS[@]}"
  systemctl start "${GUARDS[@]}"
}

write_requirements() { # what the extra `cloud` needs, without the project itself: units run the code where it lies
  python3 - "$CODE/pyproject.toml" >"$AC_OPT/requirements.txt" <<'PY'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
print(*project["dependencies"], *project["optional-dependencies"]["cloud"], sep="\n")
PY
}

environment_key() { # KEY names the environment by everything that it depends on
  local sum
  sum=$({
    cat "$AC_OPT/requirements.txt" "$CODE/constraints.txt"
    python3 -c 'import platform; print(platform.python_version(), platform.machine(), *platform.libc_ver())'
    echo "$AC_ACCELERATOR $ENVIRONMENT"
  } | sha256sum)
  KEY=env/${sum%% *}.tar.zst
}

environment_works() { # imports what the services import, which also brings it into the page cache
  [[ -x $PYTHON && $(cat "$ENVIRONMENT/key" 2>/dev/null) == "$KEY" ]] || return 1
  timeout 300 "$PYTHON" -c 'import boto3, cryptography, gymnasium, matplotlib, msgspec, safetensors, sb3_contrib, \
sse_starlette, stable_baselines3, starlette, tensorboard, torch, uvicorn, wandb, websockets, zstandard'
}

need_packages() { # COMMAND...: apt's packages, when one of the commands that they bring is missing
  local attempt
  for attempt in 1 2 3; do
    if command -v zstd >/dev/null && python3 -c 'import ensurepip' 2>/dev/null; then return; fi
    say info "zstd or python3-venv is missing: apt-get, attempt $attempt of 3"
    { DEBIAN_FRONTEND=noninteractive timeout 300 apt-get --quiet=2 --option Acquire::Retries=5 --option DPkg::Lock::Timeout=120 update &&
      DEBIAN_FRONTEND=noninteractive timeout 600 apt-get --quiet=2 --yes --option Acquire::Retries=5 \
        --option DPkg::Lock::Timeout=120 install --no-install-recommends zstd python3-venv; } || pause $((attempt * 5000))
  done
  fail 'apt-get could not install zstd and python3-venv. Its messages are in the log; a later start may succeed.'
}

fetch_environment() { # FOLDER: the archive's content; nothing of it is kept on the way
  local url
  rm -rf "$1"
  mkdir "$1"
  s3_url "$KEY"
  url=$REPLY
  credentials || return 1
  signed s3 '' --fail --max-time 900 --speed-time 30 --speed-limit 10000 --header "x-amz-content-sha256: $EMPTY_SHA256" "$url" |
    zstd --decompress --stdout --quiet | tar --extract --directory "$1"
}

restore_environment() { # from the bucket, if it is there; a broken one is as good as none
  local attempt
  for attempt in 1 2 3; do
    # A build takes minutes: a moment without S3 is waited for.
    if s3_status "$KEY"; then
      command -v zstd >/dev/null || need_packages
      if fetch_environment "$ENVIRONMENT.restored"; then break; fi
    elif [[ $STATUS == 404 ]]; then
      return 1
    fi
    if ((attempt == 3)); then return 1; fi
    refusal
    say warning "$KEY could not be fetched ($REPLY); trying again"
    pause $((attempt * 1000))
  done
  rm -rf "$ENVIRONMENT"
  mv "$ENVIRONMENT.restored" "$ENVIRONMENT"
  echo "$KEY" >"$ENVIRONMENT/key"
  environment_works
}

build_environment() {
  local attempt index=()
  need_packages
  if [[ $AC_ACCELERATOR == cpu ]]; then index=(--extra-index-url "$PYTORCH_CPU_INDEX"); fi
  for attempt in 1 2 3; do
    say info "building the Python environment, attempt $attempt of 3"
    rm -rf "$ENVIRONMENT"
    if python3 -m venv "$ENVIRONMENT" &&
      timeout 1200 "$PYTHON" -m pip install --quiet --no-input --disable-pip-version-check --no-cache-dir --retries 10 --timeout 30 \
        --constraint "$CODE/constraints.txt" --requirement "$AC_OPT/requirements.txt" "${index[@]}"; then
      echo "$KEY" >"$ENVIRONMENT/key"
      return
    fi
    pause $((attempt * 5000))
  done
  fail 'pip could not install what the extra cloud needs. Its messages are in the log; a later start may succeed.'
}

make_environment() {
  BUILT=''
  if environment_works; then
    say info 'the Python environment is there'
  elif restore_environment; then
    say info "the Python environment was restored from $KEY"
  else
    build_environment
    BUILT=yes
    environment_works ||
      fail 'The Python environment was built and cannot be used; the error is in the log. Look at constraints.txt.'
  fi
  step environment
}

check_gpu() { # the trainer's sandbox has only the devices that exist when it starts
  local seen
  if [[ $AC_ACCELERATOR != gpu ]]; then return; fi
  if command -v nvidia-modprobe >/dev/null; then nvidia-modprobe --unified-memory --create-nvidia-device-file=0 || true; fi
  seen=$(timeout 60 nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>&1) ||
    fail "GPU not seen: nvidia-smi says: $seen. Use an AMI with the driver (ami_id) and instance types with an NVIDIA GPU."
  timeout 300 "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    fail "GPU not seen: nvidia-smi shows $seen, but torch cannot use it. The driver is likely too old for the pinned torch."
  say info "GPU: $seen"
  step gpu
}

start_services() {
  if [[ -e $AC_RUN/notice || -e $AC_RUN/ending ]]; then
    say warning 'this instance is about to end: no service is started'
    return
  fi
  systemctl enable --quiet ac-secrets.service "${SERVICES[@]}"
  systemctl restart ac-secrets.service ||
    fail "ac-secrets.service failed: $(journalctl --quiet --no-pager --unit=ac-secrets --output=cat --lines=50 2>/dev/null |
      grep -E 'level=(error|critical)' | tail -n 1 | cut --characters=-500 || true)"
  step secrets
  systemctl reset-failed "${SERVICES[@]}" 2>/dev/null || true
  # From here ac-failed guards what is started; nobody waits for a restore.
  systemctl start --no-block "${SERVICES[@]}"
  if [[ -n $BUILT ]]; then systemctl start --no-block ac-store-environment.service; fi
  step services
}

write_requirements
environment_key
install_units
write_unit_settings
start_guards
make_environment
check_gpu
start_services
