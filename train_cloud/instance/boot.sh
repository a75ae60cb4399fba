#!/usr/bin/env bash
trap 'leave $?' EXIT
# The first thing an instance runs (cloud-init's runcmd): claims the address, looks whether there is anything to do, fetches
# the code and hands over to install.sh. Whatever fails, the trap ships the logs, records why, and sets the group's desired
# capacity to 0: minutes, not days. One that EC2 takes back meanwhile is left alone. Settings: see lifeline.sh.
set -Eeuo pipefail
umask 022

WHY='' WHERE='' SERVING=''
trap 'WHERE="line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND"' ERR
trap 'WHERE="SIGTERM" && exit 143' TERM

fail() { # SENTENCE
  WHY=$1
  exit 1
}

leave() { # EXIT_STATUS: what the trap does
  trap - EXIT ERR TERM
  set +e
  if [[ -n $SERVING ]]; then return; fi
  if ! declare -F end_instance >/dev/null; then
    echo "boot.sh cannot read lifeline.sh or boot.env (exit status $1): the instance powers off in a while" >&2
    sleep "${AC_PATIENCE_SECONDS:-900}"
    systemctl poweroff
    return
  fi
  if taken_back; then
    announce "the boot stops: this instance is taken back or shut down (exit status $1)"
    return
  fi
  end_instance failed "The boot failed after the step $STEP: ${WHY:-exit status $1 at ${WHERE:-an unknown place}}"
}

taken_back() { # whether this instance is about to end anyway
  [[ -e $AC_RUN/notice || $(systemctl is-system-running 2>/dev/null) == stopping ]] || imds spot/instance-action
}

# shellcheck source=train_cloud/instance/lifeline.sh
source "${BASH_SOURCE[0]%/*}/lifeline.sh"
AC_OPT=$AC_ROOT/opt/ac-training
AC_USER=ac-training
[[ -z $AC_ROOT ]] || AC_USER=$(id -un)

patiently() { # SENTENCE COMMAND...: until it succeeds. 404 is an answer, and returned; all else may be a role or a
  # network that is not ready yet, and fails the boot with the sentence when it lasts AC_PATIENCE_SECONDS.
  local delay=500 until patience=${AC_PATIENCE_SECONDS:-900}
  life_ms
  until=$((REPLY + patience * 1000))
  until "${@:2}"; do
    if [[ $STATUS == 404 ]]; then return 4; fi
    life_ms
    if ((REPLY > until)); then
      refusal
      fail "$1 (tried for $patience s, the last answer: $REPLY)"
    fi
    refusal
    say warning "${*:2}: $REPLY; trying again"
    pause $delay
    delay=$((delay * 2 < 10000 ? delay * 2 : 10000))
  done
}

make_folders() {
  if ! id "$AC_USER" &>/dev/null; then
    useradd --system --user-group --home-dir "$AC_VAR" --no-create-home --shell /usr/sbin/nologin "$AC_USER"
  fi
  install --directory --mode=0755 "$AC_OPT" "$AC_OPT/code"
  install --directory --mode=0750 --owner="$AC_USER" --group="$AC_USER" "$AC_VAR"
  install --directory --mode=0700 --owner="$AC_USER" "$AC_RUN"
}

claim_address() {
  # First: the change of address cuts whatever is being transferred.
  if [[ -n $AC_ALLOCATION ]]; then
    patiently "The Elastic IP $AC_ALLOCATION cannot be claimed. Bridges would not find this instance. Look at the role's \
ec2:AssociateAddress and whether the address still exists; terraform apply restores both." associate_address ||
      fail "The Elastic IP $AC_ALLOCATION cannot be claimed: EC2 does not know it. Run terraform apply."
  fi
  step address
}

probe_bucket() {
  # Now rather than at the last checkpoint.
  local file
  file=$(mktemp)
  date -u +%FT%TZ >"$file"
  instance_id
  patiently "S3 refuses to store under s3://$AC_BUCKET/runs/$AC_RUN_ID/. The training would be lost. Look at the \
policies of the role and of the bucket; terraform apply restores both." s3_put "runs/$AC_RUN_ID/logs/$REPLY/probe" "$file" ||
    fail "There is no bucket $AC_BUCKET. Run terraform apply."
  rm "$file"
  step bucket
}

count_launch() {
  local file launches=0
  # A second run of this script is the same launch.
  if [[ -e $AC_RUN/launched ]]; then return; fi
  file=$(mktemp)
  if patiently 'S3 does not tell how often the run was launched.' s3_get "runs/$AC_RUN_ID/launches" "$file"; then
    read -r launches <"$file" || true
    [[ $launches =~ ^[0-9]{1,9}$ ]] || fail "runs/$AC_RUN_ID/launches holds no number. Write one there, such as 0."
  fi
  launches=$((10#$launches + 1))
  if ((launches > AC_MAX_LAUNCHES)); then
    SERVING=no
    end_instance over_launches "This would be launch $launches of the run and max_launches is $AC_MAX_LAUNCHES. See why \
the earlier ones ended (make status), then raise max_launches and run make start."
  fi
  echo "$launches" >"$file"
  patiently 'S3 does not keep how often the run was launched.' s3_put "runs/$AC_RUN_ID/launches" "$file" || fail 'The bucket is gone.'
  mv "$file" "$AC_RUN/launched"
}

get_listed() { # MANIFEST FOLDER: every object of the code, side by side; MISSING is the first that S3 does not have
  local url pairs='' answers status path code=0
  endpoint s3
  url=$REPLY/$AC_BUCKET/code/$AC_CODE
  while read -r _ path; do
    printf -v pairs '%surl = "%s/%s"\noutput = "%s/%s"\n' "$pairs" "$url" "$path" "$2" "$path"
  done <"$1"
  STATUS=000 ANSWER='the metadata service gives no credentials'
  credentials || return 1
  answers=$(signed s3 "$pairs" --parallel --parallel-max 16 --create-dirs --speed-time 20 --speed-limit 100 \
    --header "x-amz-content-sha256: $EMPTY_SHA256" --write-out '%{http_code} %{url_effective}\n') || code=$?
  ANSWER=''
  while read -r status path; do
    if [[ $status != 200 ]]; then
      STATUS=$status MISSING=${path#"$url/"}
      return 1
    fi
  done <<<"$answers"
  ((code == 0)) && STATUS=200
}

fetch_code() {
  local manifest=$AC_OPT/MANIFEST fresh=$AC_OPT/code.new MISSING='' rerun='Run terraform apply, which uploads the code.'
  patiently "S3 does not give code/$AC_CODE/MANIFEST." s3_get "code/$AC_CODE/MANIFEST" "$manifest" ||
    fail "code/$AC_CODE/MANIFEST is missing from the bucket $AC_BUCKET. $rerun"
  if [[ ! -s $manifest ]] || grep --extended-regexp --invert-match --quiet '^[0-9a-f]{64}  [A-Za-z0-9_-][A-Za-z0-9/._-]*$' "$manifest" ||
    grep --quiet '\.\./' "$manifest"; then
    fail "code/$AC_CODE/MANIFEST is no list of files. $rerun"
  fi
  rm -rf "$fresh"
  mkdir -p "$fresh"
  patiently "S3 does not give all files of code/$AC_CODE/." get_listed "$manifest" "$fresh" ||
    fail "code/$AC_CODE/$MISSING is missing from the bucket $AC_BUCKET. $rerun"
  (cd "$fresh" && sha256sum --check --strict --quiet "$manifest") ||
    fail "Files of code/$AC_CODE/ are not what its MANIFEST says; their names are in the log. $rerun"
  # curl keeps the folders that it makes from everybody else.
  chmod --recursive go=rX "$fresh"
  rm -rf "$AC_OPT/code"
  mv "$fresh" "$AC_OPT/code"
  step code
}

is_done() { # FILE: whether this DONE speaks of all the steps that are asked for; as train_cloud/run_folder/done.py
  local steps='"total_timesteps": *([0-9]+)' trained
  [[ $(<"$1") =~ $steps ]] || return 0
  trained=${BASH_REMATCH[1]}
  [[ ! $(<"$AC_ETC/run.json") =~ $steps ]] || ((trained >= BASH_REMATCH[1]))
}

boot() {
  make_folders
  step boot
  claim_address
  probe_bucket
  local finished
  finished=$(mktemp)
  if patiently 'S3 does not tell whether the run is done.' s3_get "runs/$AC_RUN_ID/DONE" "$finished" && is_done "$finished"; then
    SERVING=no
    end_instance finished 'The run is done: DONE is in the bucket. Raise total_timesteps to let it go on, or give another run_id.'
  fi
  step done_check
  count_launch
  fetch_code
  # shellcheck source=train_cloud/instance/install.sh
  source "$AC_OPT/code/train_cloud/instance/install.sh"
}

boot
SERVING=yes
