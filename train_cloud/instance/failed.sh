#!/usr/bin/env bash
# A unit failed for good (systemd's MONITOR_* says which): write the ending `failed`, with the last error that it logged.
# It is fetched with the code, since no unit of ours runs before that.
set -euo pipefail
umask 077
# shellcheck source=train_cloud/instance/lifeline.sh
source "${AC_ROOT:-}/usr/local/lib/ac-training/lifeline.sh"

property() { # NAME UNIT: to standard output
  systemctl show --property="$1" --value "$2" 2>/dev/null
}

unit=${MONITOR_UNIT:-}
# systemd names the unit only where a single one can start this service.
for one in ac-secrets ac-receiver ac-training; do
  if [[ -z $unit && $(property ActiveState $one.service) == failed ]]; then unit=$one.service; fi
done
# From 254 on systemd says so at each failure, also where it starts the unit again.
if [[ -e $AC_RUN/notice || -z $unit || $(property ActiveState "$unit") == @(active|*activating|reloading) ]]; then
  exit 0
fi
last=$(timeout 10 journalctl --quiet --no-pager --unit="$unit" --output=cat --lines=500 2>/dev/null |
  grep -E 'level=(error|critical)' | tail -n 1 || true)
# A traceback says at its end what went wrong.
if ((${#last} > 500)); then last="${last:0:150} ... ${last: -340}"; fi
write_ending failed "$unit failed for good (${MONITOR_SERVICE_RESULT:-$(property Result "$unit")}, \
${MONITOR_EXIT_CODE:-exited} ${MONITOR_EXIT_STATUS:-$(property ExecMainStatus "$unit")}).${last:+ The last error in its log: $last}"
