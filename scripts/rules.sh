# shellcheck shell=bash
# Which values the settings may have, checked before any change. The components check the same at
# their start: app/config, app/bin/entrypoint, nginx/watcher, haproxy/ and
# varnish/entrypoint.sh.
# shellcheck disable=SC2154 # lib.sh and settings.sh set root, setting_names, in_use, in_file and demo

wrong=0 # errors so far

# Print a line for each wrong setting; exit if there is one.
check_settings() {
  local LC_ALL=C name # so that [a-z] is these letters
  wrong=0
  for name in "${setting_names[@]}"; do valid "$name" || complain "$name" "must be $allowed"; done
  check_load_balancer
  check_ports_differ
  check_certificate
  check_hosts_named
  check_cdn
  check_added_servers
  if ((wrong == 0)); then
    too_many_connections "$(setting WEB_REPLICAS 3)"
    check_services
  fi
  note_unknown_names
  if ((wrong)); then exit 1; fi
}

# check_connections [REPLICAS]: fail if so many replicas of web could need more connections than one
# PostgreSQL server accepts.
check_connections() {
  if ! all_valid POOL_SIZE WEB_WORKERS WORKER_PROCESSES SERVICE_WORKERS WEB_REPLICAS; then check_settings; fi
  wrong=0
  too_many_connections "${1:-$(setting WEB_REPLICAS 3)}"
  if ((wrong)); then exit 1; fi
}

# Whether the settings that every script exports are right.
names_a_stack() { [[ $LB == nginx || $LB == haproxy ]] && all_valid "${STACK_SETTINGS[@]}"; }

all_valid() {
  local LC_ALL=C name
  for name in "$@"; do valid "$name" || return 1; done
}

# valid NAME: whether its value is allowed; else `allowed` says what is. Empty is the default.
valid() {
  local value=${in_use[$1]:-}
  local label='[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?' server='[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?'
  local domain="$label(\.$label)*"
  local origin="https?://$domain(:[1-9][0-9]{0,4})?"
  [[ -n $value ]] || return 0
  case $1 in
    COMPOSE_PROJECT_NAME) like '[a-z0-9]{1,32}((_|__|-+)[a-z0-9]{1,32}){0,15}' "small letters, digits, and - or _ between them" ;;
    COMPOSE_FILE) files "$value" ;;
    COMPOSE_PROFILES) like '(nginx|haproxy)(,[a-zA-Z0-9][a-zA-Z0-9_.-]*)*' "nginx or haproxy" ;;
    HTTP_PORT | HTTPS_PORT | PROMETHEUS_PORT | CDN_PORT) number 1 65535 "a port number" ;;
    LB_METHOD) one_of round_robin least_conn ip_hash weighted ;;
    LB_UPSTREAMS) upstreams ;;
    CANARY_IMAGE) like '[a-z0-9][A-Za-z0-9._/:@-]*' "the name of an image, such as shop:2.1" ;;
    ALLOWED_HOSTS) hosts ;;
    TRUSTED_PROXIES) networks ;;
    CLIENT_ADDRESS) one_of x-forwarded-for cf-connecting-ip proxy-protocol ;;
    MAX_BODY_BYTES) number 1024 1073741824 "a whole number of bytes" ;;
    TLS_CERTIFICATE | TLS_KEY) file "$value" ;;
    CDN_URL | CDN_PURGE_URL) like "$origin" "an address such as https://cdn.example.com, without a path" ;;
    AWS_CLOUDFRONT_DOMAIN) like "$domain" "a host name such as d111111abcdef8.cloudfront.net" ;;
    AWS_S3_CUSTOM_DOMAIN) like "$domain" "a host name such as media.shop.example" ;;
    AWS_S3_ENDPOINT_URL | MEDIA_UPLOAD_URL)
      like "$origin(/[A-Za-z0-9._~-]+)*/?" "an address such as https://s3.example.com or https://s3.example.com/shop-media"
      ;;
    CDN_TAG_HEADER) one_of Surrogate-Key Cache-Tag ;;
    CDN_MEMORY_MB) number 1 99999 "a whole number of megabytes" ;;
    WEB_REPLICAS) number 1 20 ;; # the load balancers have room for 20
    WEB_WORKERS | WEB_THREADS | SERVICE_WORKERS | SERVICE_THREADS) number 1 64 ;;
    POOL_SIZE) number 1 100 ;;
    RATE_LIMIT | REGISTRATION_LIMIT) number 0 1000000 ;;
    DRAIN_SECONDS) number 0 40 "a whole number of seconds" ;; # a container is killed after 45
    WORKER_PROCESSES) number 1 99 ;;
    REPLICATION_GUARD | EXPOSE_TOPOLOGY | REQUIRE_IF_MATCH | SECURE_COOKIES | OLD_SESSIONS | HTTPS_ONLY | REGISTRATION_TELLS | DEBUG | SWIFT_REPLICAS) like '[01]' "0 or 1" ;;
    LOG_LEVEL) one_of DEBUG INFO WARNING ERROR CRITICAL ;;
    AWS_S3_REGION_NAME) like '[a-z0-9][a-z0-9-]{0,63}' "the name of a region, such as eu-central-1" ;;
    AWS_S3_ADDRESSING_STYLE) one_of path virtual auto ;;
    AWS_STORAGE_BUCKET_NAME) like '[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]' "a bucket's name: 3 to 63 small letters, digits, - and ." ;;
    AWS_ACCESS_KEY_ID) like '[A-Za-z0-9][A-Za-z0-9:._/+=@-]{0,127}' "an access key: letters, digits and :._/+=@-" ;;
    MEDIA_STORE_SECRET) secret_file ;;
    EXTRA_REPLICAS | EXTRA_SHARDS) like "$server(,$server)*" "host names in small letters, separated by commas" ;;
    ETCD_UNSAFE_NO_FSYNC) one_of true false ;;
    *) like '' "listed in scripts/rules.sh, which has no rule for it" ;;
  esac
}

# ── kinds of values: each looks at `value` and sets `allowed` ───────────────────────────────────────

like() { # PATTERN WORDS
  allowed=$2
  [[ $value =~ ^($1)$ ]]
}

number() { # LEAST MOST [WORDS]
  allowed="${3:-a whole number} from $1 to $2"
  [[ $value =~ ^(0|[1-9][0-9]{0,9})$ ]] && (($1 <= value && value <= $2))
}

one_of() {
  local one
  allowed="one of $(printf '%s, ' "$@")"
  allowed=${allowed%, }
  for one in "$@"; do [[ $value != "$one" ]] || return 0; done
  return 1
}

file() { # PATH
  allowed="the path of a file that can be read: $(shown "$1") is none"
  local path=$1
  [[ $path == /* ]] || path=$root/$path
  [[ -f $path && -r $path && -s $path ]]
}

files() { # PATHS
  local one parts
  IFS=: read -r -d '' -a parts < <(printf '%s\0' "$1")
  for one in "${parts[@]}"; do file "$one" || return 1; done
}

# A container reads it as a user of its own.
secret_file() {
  local path=$value
  file "$value" || return 1
  [[ $path == /* ]] || path=$root/$path
  allowed="a file that other users may read: chmod o+r"
  (($(stat --format '0%a' "$path") & 4)) || return 1
  allowed="a file that holds one word"
  [[ $(head -c 4096 "$path" | tr '\0' ' ') =~ ^[[:space:]]*[^[:space:]]+[[:space:]]*$ ]]
}

upstreams() {
  local rest=$value, part seen=,
  allowed="service=weight[,service=weight...], each service once, a weight from 1 to 256"
  while [[ -n $rest ]]; do
    part=${rest%%,*} rest=${rest#*,}
    [[ $part =~ ^\ *([a-z0-9]([a-z0-9_.-]*[a-z0-9])?)=([1-9][0-9]{0,2})\ *$ ]] || return 1
    ((BASH_REMATCH[3] <= 256)) && [[ $seen != *",${BASH_REMATCH[1]},"* ]] || return 1
    seen+=${BASH_REMATCH[1]},
  done
}

hosts() {
  local label='[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?' rest=${value,,}, part
  allowed="host names, .domains or *, separated by commas"
  while [[ -n $rest ]]; do
    part=${rest%%,*} rest=${rest#*,}
    [[ $part =~ ^\ *(\*|\.?$label(\.$label)*|\[[0-9a-f:.]+\])?\ *$ ]] || return 1
  done
}

networks() {
  local octet='(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])' rest=${value,,}, part
  local four="$octet(\.$octet){3}(/([1-9]|[12][0-9]|3[0-2]))?" six='([0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(/([1-9][0-9]?|1[01][0-9]|12[0-8]))?'
  allowed="addresses or networks such as 192.0.2.0/24, separated by commas, and not all addresses"
  while [[ -n $rest ]]; do
    part=${rest%%,*} rest=${rest#*,}
    [[ $part =~ ^\ *($four|$six)?\ *$ ]] || return 1
  done
}

# ── what two settings say together ──────────────────────────────────────────────────────────────────

check_load_balancer() {
  local chosen=${in_use[COMPOSE_PROFILES]:-${demo[COMPOSE_PROFILES]}}
  if [[ $LB != "${chosen%%,*}" && $LB != nginx && $LB != haproxy ]]; then
    error "environment: LB=$(shown "$LB"): must be nginx or haproxy"
  fi
}

check_ports_differ() {
  local names=(HTTP_PORT HTTPS_PORT PROMETHEUS_PORT CDN_PORT) one other
  while ((${#names[@]} > 1)); do
    one=${names[0]} names=("${names[@]:1}")
    for other in "${names[@]}"; do
      if [[ ${!one} == "${!other}" ]] && all_valid "$one"; then complain_both "$one" "$other" "must be two ports"; fi
    done
  done
}

check_certificate() {
  local certificate=${in_use[TLS_CERTIFICATE]:-} key=${in_use[TLS_KEY]:-} public starts
  if [[ -z $certificate && -z $key ]] || ! all_valid TLS_CERTIFICATE TLS_KEY; then return; fi
  if [[ -z $certificate || -z $key ]]; then
    complain_both TLS_CERTIFICATE TLS_KEY "set both, or none of them"
    return
  fi
  if ! have openssl; then
    complain TLS_CERTIFICATE "openssl, which is not installed, is needed to check it"
    return
  fi
  [[ $certificate == /* ]] || certificate=$root/$certificate
  [[ $key == /* ]] || key=$root/$key
  if ! public=$(openssl x509 -noout -pubkey <"$certificate" 2>/dev/null); then
    complain TLS_CERTIFICATE "holds no certificate in PEM format"
  elif ! key=$(openssl pkey -pubout -passin pass: <"$key" 2>/dev/null); then
    complain TLS_KEY "holds no key in PEM format without a password"
  elif [[ $public != "$key" ]]; then
    complain_both TLS_CERTIFICATE TLS_KEY "the key does not belong to the certificate"
  elif ! openssl x509 -noout -checkend 0 <"$certificate" >/dev/null; then
    complain TLS_CERTIFICATE "has expired on $(openssl x509 -noout -enddate <"$certificate" | cut -d = -f 2)"
  else
    starts=$(openssl x509 -noout -startdate <"$certificate" | cut -d = -f 2)
    (($(date --date "$starts" +%s) <= $(date +%s))) || complain TLS_CERTIFICATE "is not valid before $starts"
  fi
}

# A stack that hides its topology is no demo: an unknown Host must not get into links and caches.
check_hosts_named() {
  if [[ ${in_use[EXPOSE_TOPOLOGY]:-1} == 0 && -z ${in_use[ALLOWED_HOSTS]// /} ]]; then
    complain_both EXPOSE_TOPOLOGY ALLOWED_HOSTS "name the hosts of the site (or * for any, which lets a forged one into links)"
  fi
}

check_cdn() {
  if [[ -n ${in_use[CDN_URL]:-} && -n ${in_use[AWS_CLOUDFRONT_DOMAIN]:-} ]] && all_valid CDN_URL AWS_CLOUDFRONT_DOMAIN; then
    complain_both CDN_URL AWS_CLOUDFRONT_DOMAIN "name the same thing: set one of them"
  fi
}

check_added_servers() {
  local name seen=,postgres-1,postgres-2,postgres-3,shard-1,shard-2, one names
  for name in EXTRA_REPLICAS EXTRA_SHARDS; do
    valid "$name" || continue
    IFS=, read -ra names <<<"${in_use[$name]:-}"
    for one in "${names[@]}"; do
      if [[ $seen == *",$one,"* ]]; then complain "$name" "$one is in use already"; fi
      seen+=$one,
    done
  done
}

# too_many_connections REPLICAS: complain if they are. Each process has one pool to a server, which
# its aliases share, and one connection to watch it. The first server of the main cluster has the
# most: web, worker and one replica of products; one replica of users and of orders with a second
# pool, for the shard on that server; their workers use one connection of each. A service that was
# added counts as one with shards and a worker.
too_many_connections() {
  local replicas=$1 pool web worker service own needed most name given=''
  pool=$(setting POOL_SIZE 4) web=$(setting WEB_WORKERS 2) worker=$(setting WORKER_PROCESSES 2) service=$(setting SERVICE_WORKERS 1)
  own=$(($(grep -cE '^    <<: \*service$' "$root/compose.yaml") - 1)) # all but products, which has the pools of the shop
  needed=$(((replicas * web + worker + service) * (pool + 1) + own * service * (2 * pool + 1) + own * 3))
  most=$(($(sed -n 's/^ *max_connections: \([0-9]*\)$/\1/p' "$root/postgres/patroni.yml") - 10)) # Patroni, replication's set-up, a person
  ((needed > most)) || return 0
  for name in POOL_SIZE WEB_REPLICAS WEB_WORKERS WORKER_PROCESSES SERVICE_WORKERS; do
    if [[ -n ${in_use[$name]:-} ]]; then given+="$(described "$name"), "; fi
  done
  error "$given$replicas replicas of web: may need $needed connections to one PostgreSQL server, which takes $most:\
 choose a smaller POOL_SIZE or fewer replicas"
}

# What only Compose and the engine know: that the files fit together, and what the load balancer's
# settings name.
check_services() {
  local services part rest image
  if ! services=$(cd "$root" && COMPOSE_PROFILES='*' timeout 60 docker compose config --services 2>&1); then
    error "$(reason_of "$services")"
    return
  fi
  rest=$(setting LB_UPSTREAMS web=1),
  while [[ -n $rest ]]; do
    part=${rest%%=*} rest=${rest#*,}
    part=${part// /}
    grep -qxF -e "$part" <<<"$services" || complain LB_UPSTREAMS "the Compose files have no service $part"
    image=${in_use[CANARY_IMAGE]:-}
    if [[ $part == web-canary && -n $image && $(docker image inspect "$image" 2>&1) == *"No such image"* ]]; then
      complain_both CANARY_IMAGE LB_UPSTREAMS "this engine has no image $image"
    fi
  done
}

# ── what is printed ─────────────────────────────────────────────────────────────────────────────────

error() {
  say "error: $*"
  wrong=$((wrong + 1))
}
complain() { error "$(described "$1"): $2"; }                        # NAME REASON
complain_both() { error "$(described "$1"), $(described "$2"): $3"; } # NAME NAME REASON

# described NAME: where it is set, and its value.
described() {
  local name=$1 lines=() place=environment value=${in_use[$1]:-}
  if [[ -z $value ]]; then
    place=.env.example value=${demo[$name]}
  elif [[ ${in_file[$name]-} == "$value" ]]; then
    mapfile -t lines <"$root/.env"
    place=.env:$(line_of "$name" "${lines[@]}")
  fi
  printf '%s: %s=%s' "$place" "$name" "$(shown "$value")"
}

# A project may have names of its own in .env: one note, no error.
note_unknown_names() {
  local name near known=" ${setting_names[*]} " unknown=()
  for name in "${!in_file[@]}"; do
    if [[ $known == *" $name "* || $name == COMPOSE_* || $name == DOCKER_* ]]; then continue; fi
    if grep -qE "\\\$\\{?${name//./\\.}([^A-Za-z0-9_]|$)" "$root"/compose*.yaml; then continue; fi
    near=$(near_miss "$name")
    if [[ $near ]]; then
      say "note: .env: $name is not a setting; is $near meant?"
    else
      unknown+=("$name")
    fi
  done
  if ((${#unknown[@]})); then say "note: .env: not settings of this stack: $(shown "${unknown[*]}")"; fi
}

# near_miss NAME: the setting that is nearest, at most two letters away; dashes and case count for
# nothing.
near_miss() {
  local given=${1^^} one two least=3 far nearest=''
  given=${given//[-_.]/}
  for one in "${setting_names[@]}"; do
    two=${one//_/}
    if ((${#given} <= 3 || ${#given} > ${#two} + 2 || ${#two} > ${#given} + 2)); then continue; fi
    far=$(distance "$given" "$two")
    if ((far < least)); then least=$far nearest=$one; fi
  done
  printf '%s' "$nearest"
}

# distance A B: how many letters must be added, removed or changed to make B of A (Levenshtein).
distance() {
  local a=$1 b=$2 i j row=() last least
  for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#a}; i++)); do
    last=("${row[@]}")
    row[0]=$i
    for ((j = 1; j <= ${#b}; j++)); do
      least=$((last[j - 1] - 1))
      if [[ ${a:i-1:1} != "${b:j-1:1}" ]]; then
        least=$((last[j - 1] < last[j] ? last[j - 1] : last[j]))
        least=$((least < row[j - 1] ? least : row[j - 1]))
      fi
      row[j]=$((least + 1))
    done
  done
  echo "${row[${#b}]}"
}
