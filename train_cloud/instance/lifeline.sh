#!/usr/bin/env bash
# What an instance needs to end well, with nothing but bash, curl and systemd. It works before our Python environment
# exists and when that is broken. Sourced it is a library; executed it is a command:
#   end          act on $AC_RUN/ending (reason, sentence): save, record, desired capacity 0, power off
#   drain        act on $AC_RUN/notice: save and record; the group replaces the instance by itself
#   overdue      write the ending `failed` if nobody looked at the costs for an hour
#   ship [COPY]  the next piece of the journal into the bucket, and into the file COPY
# It never prints a secret, and gives curl none on its command line. Settings come from $AC_ETC/boot.env; tests set
# AC_ROOT, AWS_ENDPOINT_URL and AWS_EC2_METADATA_SERVICE_ENDPOINT. Optional, in s: AC_PATIENCE_SECONDS (900, Python's too),
# AC_POWEROFF_SECONDS (300: what the group, or EC2 after a notice, may take to end us), AC_OVERDUE_SECONDS (3600).

AC_ROOT=${AC_ROOT:-}
AC_ETC=$AC_ROOT/etc/ac-training AC_RUN=$AC_ROOT/run/ac-training AC_VAR=$AC_ROOT/var/lib/ac-training
EMPTY_SHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
STATUS=000 ANSWER='' # HTTP status (000: no answer) and body of the last call

# Functions answer in REPLY: a subshell would lose what is remembered between calls.

quoted() { # TEXT: as a JSON string
  local text
  text=$(iconv -c -f utf-8 -t utf-8 <<<"$1" || true)
  text=${text//\\/"\\\\"}
  text=${text//\"/"\\\""}
  text=${text//$'\n'/"\\n"}
  REPLY="\"${text//[[:cntrl:]]/ }\""
}

say() { # LEVEL TEXT: one line of the log
  quoted "$2"
  printf 'time=%s level=%s process=lifeline event=%s\n' "$(date -u +%FT%TZ)" "$1" "$REPLY" >&2
}

life_ms() { # milliseconds since PID 1 began: unlike the clock they never jump
  local now stat
  read -r now _ <"/proc/uptime"
  read -r stat <"/proc/1/stat"
  read -r -a stat <<<"${stat##*) }"
  REPLY=$((10#${now/./} * 10 - stat[19] * 1000 / $(getconf CLK_TCK)))
}

STEP=none
step() { # NAME: note when this step of the boot was done
  life_ms
  STEP=$1
  printf '%s\t%d.%03d\n' "$1" $((REPLY / 1000)) $((REPLY % 1000)) >>"$AC_VAR/boot_steps"
  say info "boot step $STEP done at $((REPLY / 1000)).$((REPLY % 1000 / 100)) s"
}

pause() { # MILLISECONDS
  sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"
}

IMDS_TOKEN=''
imds() { # PATH below /latest/meta-data/: REPLY is the answer, fails when there is none
  local url=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
  local ask=(curl --silent --noproxy '*' --connect-timeout 2 --max-time 5 --retry 2 --retry-connrefused --fail)
  if [[ -z $IMDS_TOKEN ]]; then
    IMDS_TOKEN=$("${ask[@]}" --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 21600' \
      "${url%/}/latest/api/token") || return 1
  fi
  REPLY=$("${ask[@]}" --config - "${url%/}/latest/meta-data/$1" <<<"header = \"X-aws-ec2-metadata-token: $IMDS_TOKEN\"") ||
    # It may have run out.
    { IMDS_TOKEN='' && return 1; }
}

INSTANCE_ID=''
instance_id() { # REPLY is our id; `unknown` while the metadata service is silent
  if [[ -z $INSTANCE_ID ]] && imds instance-id; then INSTANCE_ID=$REPLY; fi
  REPLY=${INSTANCE_ID:-unknown}
}

field() { # JSON NAME: the text of a field in flat JSON
  [[ $1 =~ \"$2\"[[:space:]]*:[[:space:]]*\"([^\"]*)\" ]] && REPLY=${BASH_REMATCH[1]//\\\//\/}
}

SIGNER='' SIGNER_MS=0
credentials() { # SIGNER is curl's configuration of the role's credentials
  life_ms
  # EC2 renews them five minutes before they end: a minute's memory never serves expired ones.
  if [[ -n $SIGNER ]] && ((REPLY - SIGNER_MS < 60000)); then return 0; fi
  SIGNER_MS=$REPLY
  local json id secret
  { imds iam/security-credentials/ && imds "iam/security-credentials/${REPLY%%$'\n'*}"; } || return 1
  json=$REPLY
  { field "$json" AccessKeyId && id=$REPLY && field "$json" SecretAccessKey && secret=$REPLY && field "$json" Token; } ||
    return 1
  printf -v SIGNER 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' "$id" "$secret" "$REPLY"
}

endpoint() { # SERVICE: REPLY is its URL
  REPLY=${AWS_ENDPOINT_URL:-https://$1.$AC_REGION.amazonaws.com}
  REPLY=${REPLY%/}
}

signed() { # SERVICE CONFIGURATION CURL_OPTIONS...: standard output is curl's
  printf '%saws-sigv4 = "aws:amz:%s:%s"\n%s' "$SIGNER" "$AC_REGION" "$1" "$2" |
    curl --config - --silent --show-error --no-progress-meter --connect-timeout 5 "${@:3}"
}

call() { # SERVICE CURL_OPTIONS...: one signed request of a bounded time; sets STATUS and ANSWER, fails unless it is 2xx
  local answer code=0
  STATUS=000 ANSWER='the metadata service gives no credentials'
  credentials || return 1
  answer=$(signed "$1" '' --max-time "${CALL_SECONDS:-20}" --write-out '\n%{http_code}' "${@:2}") || code=$?
  ANSWER=${answer%$'\n'*}
  if ((code == 0)); then STATUS=${answer##*$'\n'}; fi
  [[ $STATUS == 2?? ]]
}

refusal() { # REPLY is what was wrong with the last call, in a few words
  REPLY='no answer'
  if [[ $STATUS != 000 ]]; then REPLY=$STATUS; fi
  if [[ $ANSWER =~ \<Code\>([A-Za-z.]+)\</Code\> ]]; then REPLY+=" ${BASH_REMATCH[1]}"; fi
  if [[ $STATUS == 000 && $ANSWER == *metadata* ]]; then REPLY=$ANSWER; fi
}

s3_url() { # KEY; plain, since curl and S3 may see escapes differently
  if [[ ! $1 =~ ^[A-Za-z0-9/._-]+$ ]]; then
    say error "the key $1 has characters that are not used in our keys"
    return 1
  fi
  endpoint s3
  REPLY+=/$AC_BUCKET/$1
}

s3_get() { # KEY FILE: the file appears whole or not at all
  s3_url "$1" || return 1
  CALL_SECONDS=${GET_SECONDS:-60} call s3 --header "x-amz-content-sha256: $EMPTY_SHA256" --output "$2.part" "$REPLY" || {
    ANSWER+=$(head --bytes 2000 "$2.part" 2>/dev/null | tr -d '\0' || true)
    rm -f "$2.part"
    return 1
  }
  mv "$2.part" "$2"
}

s3_put() { # KEY FILE
  local sum
  s3_url "$1" || return 1
  sum=$(sha256sum <"$2")
  # curl 7.88 would sign an `Expect:` that takes the header away, so it stays, with a short wait.
  CALL_SECONDS=60 call s3 --header "x-amz-content-sha256: ${sum%% *}" --expect100-timeout 0.2 \
    --upload-file "$2" "$REPLY"
}

s3_status() { # KEY: STATUS says whether it exists (200, 404, 403); fails unless it does
  s3_url "$1" || return 1
  call s3 --head --header "x-amz-content-sha256: $EMPTY_SHA256" "$REPLY"
}

query() { # SERVICE VERSION ACTION NAME=VALUE...: a call of the query protocol
  local fields=() pair
  for pair in "Action=$3" "Version=$2" "${@:4}"; do fields+=(--data-urlencode "$pair"); done
  endpoint "$1"
  call "$1" "${fields[@]}" "$REPLY/"
}

associate_address() { # the Elastic IP of boot.env becomes ours, whoever has it now
  instance_id
  query ec2 2016-11-15 AssociateAddress "AllocationId=$AC_ALLOCATION" "InstanceId=$REPLY" AllowReassociation=true
}

set_desired_zero() { # fails when the group has not taken it for AC_PATIENCE_SECONDS
  local delay=500 until
  life_ms
  until=$((REPLY + ${AC_PATIENCE_SECONDS:-900} * 1000))
  until query autoscaling 2011-01-01 SetDesiredCapacity "AutoScalingGroupName=$AC_GROUP" DesiredCapacity=0 \
    HonorCooldown=false; do
    refusal
    say error "the group $AC_GROUP did not take desired capacity 0 ($REPLY); trying again in $((delay / 1000)) s"
    life_ms
    ((REPLY < until)) || return
    pause $delay
    delay=$((delay * 2 < 30000 ? delay * 2 : 30000))
  done
  say info "the group $AC_GROUP has desired capacity 0"
}

scratch_file() { # REPLY is a new file in memory: the end of an instance whose disk is full is told all the same
  mkdir -p "$AC_RUN"
  REPLY=$(mktemp "$AC_RUN/.lifeline.XXXXXX")
}

PIECE_BYTES=33554432
ship_logs() { # [COPY]: the next piece of the journal; half a minute at most
  # The cursor moves when the bucket has the piece: lines may come twice, none is lost.
  local file cut='' cursor=$AC_VAR/journal.cursor read=(timeout 15 journalctl --quiet --no-pager --all --utc)
  scratch_file || return 0
  file=$REPLY
  cp "$cursor" "$file.cursor" 2>/dev/null || true
  timeout 5 journalctl --sync 2>/dev/null || true
  "${read[@]}" --output=short-iso-precise --cursor-file="$file.cursor" | head --bytes=$PIECE_BYTES >"$file" || cut=yes
  if [[ -n $cut || $(stat --format=%s "$file") == "$PIECE_BYTES" ]]; then
    # The next piece begins with the last entry of this one, which may be cut; its other lines are indented.
    cut=$(grep --text --count '^[0-9]' "$file" || true)
    cp "$cursor" "$file.cursor" 2>/dev/null || rm -f "$file.cursor"
    "${read[@]}" --output=json --output-fields=_PID --cursor-file="$file.cursor" |
      sed --quiet "$((cut > 2 ? cut - 1 : 1)){s/.*__CURSOR[ :\"]*//;s/\".*//p;q}" >"$file.next" || true
    mv "$file.next" "$file.cursor"
  fi
  gzip <"$file" >"$file.gz" || : >"$file"
  instance_id
  if [[ ! -s $file ]]; then
    # An unusable cursor: the next time from the beginning.
    if [[ -n $cut ]]; then rm -f "$cursor"; fi
  elif s3_put "runs/$AC_RUN_ID/logs/$REPLY/$(date -u +%Y%m%dT%H%M%SZ-%N).log.gz" "$file.gz"; then
    # Into the file that is there: the next reader may be another user.
    cat "$file.cursor" >"$cursor" 2>/dev/null || true
    chown --reference="$AC_VAR" "$cursor" 2>/dev/null || true
    if [[ -n ${1:-} ]]; then mv "$file" "$1"; fi
  else
    refusal
    say error "the log could not be stored ($REPLY)"
  fi
  rm -f "$file"*
}

put_ending() { # REASON TEXT DESIRED_CAPACITY [SECONDS]
  local file text code=0
  quoted "$2" && text=$REPLY
  scratch_file || return 1
  file=$REPLY
  instance_id
  printf '{"reason":"%s","text":%s,"at":"%s","instance_id":"%s","run_id":"%s","desired_capacity":%s%s}\n' "$1" "$text" \
    "$(date -u +%FT%TZ)" "$REPLY" "$AC_RUN_ID" "$3" "${4:+,\"seconds\":$4}" >"$file"
  s3_put "runs/$AC_RUN_ID/endings/$(date -u +%Y%m%dT%H%M%SZ)-$REPLY.json" "$file" || code=1
  rm -f "$file"
  return $code
}

announce() { # TEXT: to the log and to the console, which EC2 keeps when the instance is gone
  say info "$1"
  printf 'ac-training: %s\n' "$1" 2>/dev/null >>"$AC_ROOT/dev/console" || true
}

stop_services() { # in order (each unit's own limits hold), so that everything is saved; nothing may begin again
  timeout 10 systemctl stop ac-minute.timer ac-minute.service ac-token.path 2>/dev/null || true
  timeout 70 systemctl stop ac-driver.service ac-training.service ac-receiver.service ac-tensorboard.service ac-dashboard.service 2>/dev/null || true
}

say_farewell() { # the ledger's last entry, by ac-farewell's stop
  timeout 45 systemctl stop ac-farewell.service 2>/dev/null || true
}

power_off() { # WHO: has left us running for AC_POWEROFF_SECONDS; does not return
  sleep "${AC_POWEROFF_SECONDS:-300}"
  announce "$1 left the instance running: it powers off by itself"
  until systemctl poweroff; do pause 5000; done
  sleep infinity
}

write_ending() { # REASON TEXT: ask for the end of this instance; the first reason stays
  printf '%s\n%s\n' "$1" "$2" >"$AC_RUN/ending.$$"
  ln "$AC_RUN/ending.$$" "$AC_RUN/ending" 2>/dev/null || say info "an ending is on its way already; this one is left out"
  rm -f "$AC_RUN/ending.$$"
}

end_instance() { # REASON TEXT: save, tell, and stop the costs; does not return before the instance is going down
  local attempt attempts=''
  # Boot and ac-end may both want to: the second waits, and takes over if the first dies.
  mkdir -p "$AC_RUN"
  exec 9>"$AC_RUN/end.lock"
  flock 9
  announce "the instance ends ($1): $2"
  stop_services
  say_farewell
  ship_logs
  put_ending "$1" "$2" 0 || attempts='1 2 3 4'
  # If not, its scheduled action ends the costs; our replacement finds how often it was launched and what is spent.
  set_desired_zero || true
  for attempt in $attempts; do
    say error "the ending could not be stored; attempt $attempt of 4 follows"
    pause $((attempt * 500))
    ! put_ending "$1" "$2" 0 || break
  done
  # At desired capacity 0 nothing replaces us: safe where the group is slow or was started again meanwhile.
  power_off 'the group'
}

drain() { # EC2 takes the instance back: save and tell; desired capacity stays, so that the group replaces it
  local action when seconds
  { read -r action && read -r when; } <"$AC_RUN/notice" || true
  announce "EC2 takes the instance back (${action:-unknown} at ${when:-an unknown time}); saving everything"
  stop_services
  seconds=$((($(date +%s%3N) - $(date --reference="$AC_RUN/notice" +%s%3N)) / 100))
  # The clock may have gone back since.
  if ((seconds < 0)); then seconds=0; fi
  seconds=$((seconds / 10)).$((seconds % 10))
  put_ending interrupted "EC2 took the instance back (${action:-unknown} at ${when:-an unknown time}). Everything was \
saved $seconds s after the notice; the group starts a replacement." null "$seconds" ||
    say error 'the ending could not be stored'
  announce "everything was saved $seconds s after the notice"
  say_farewell
  ship_logs
  # Nothing looks at the costs any more.
  power_off EC2
}

overdue() { # whatever hangs must not do so for days
  local looked=0 limit=${AC_OVERDUE_SECONDS:-3600}
  # By train_cloud.instance.minute.
  read -r looked 2>/dev/null <"$AC_RUN/looked" || true
  life_ms
  if ((REPLY / 1000 - looked < limit)); then return; fi
  write_ending failed "For $limit s nobody has looked at what the instance costs: its boot hangs, or ac-minute fails. The \
log says more."
}

# shellcheck source=/dev/null
source "$AC_ETC/boot.env"

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  set -euo pipefail
  umask 077
  case ${1:-} in
  end)
    { read -r reason && read -r text; } <"$AC_RUN/ending" || true
    end_instance "${reason:-failed}" "${text:-no reason was given}"
    ;;
  drain | overdue) "$1" ;;
  ship) ship_logs "${2:-}" ;;
  *)
    echo 'usage: lifeline.sh end | drain | overdue | ship' >&2
    exit 2
    ;;
  esac
fi
