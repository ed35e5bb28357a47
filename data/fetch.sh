#!/bin/sh
# Gets a public corpus of data/corpora.toml:  data/fetch.sh NAME [DEST]
#
# A file of the right hash in $NOTCH_DATA or data/corpora/ is used before anything is downloaded. DEST is a file
# name or an existing directory, data/corpora/ by default. The result is checked (size, SHA-256 where known)
# and appears under its name only when it is complete. The path is printed on standard output.
# Exit codes: 0 done, 2 usage, 3 wrong content, 4 no network, no tool or cannot write.
set -u
here=$(cd "$(dirname "$0")" && pwd)
table=$here/corpora.toml

fail() {
  code=$1
  shift
  echo "fetch: $*" >&2
  exit "$code"
}

names() { sed -n 's/^\[\(.*\)\]$/\1/p' "$table" | tr '\n' ' '; }

# The value of key $1 in the table [$name], without quotes; nothing when it is absent.
value() {
  awk -v section="[$name]" -v key="$1" '
    /^\[/ { inside = ($0 == section) }
    inside && $1 == key { sub(/^[^=]*= */, ""); gsub(/^"|"$/, ""); print; exit }' "$table"
}

size_of() { wc -c < "$1" | tr -d ' '; }
hash_of() {
  if command -v sha256sum > /dev/null; then sha256sum < "$1"; else shasum -a 256 < "$1"; fi | cut -d ' ' -f 1
}

# Whether file $1 is the corpus. Without a known hash only the size (when known) can speak for it.
matches() {
  [ -f "$1" ] && [ -r "$1" ] || return 1
  [ -z "$bytes" ] || [ "$(size_of "$1")" = "$bytes" ] || return 1
  [ -z "$sha256" ] || [ "$(hash_of "$1")" = "$sha256" ]
}

[ $# -ge 1 ] && [ $# -le 2 ] || fail 2 "usage: data/fetch.sh NAME [DEST]; NAME is one of: $(names)"
name=$1
url=$(value url)
[ -n "$url" ] || fail 2 "unknown corpus \"$name\"; known: $(names)"
file=$(value file)
bytes=$(value bytes)
sha256=$(value sha256)
member=$(value member)
command -v sha256sum > /dev/null || command -v shasum > /dev/null ||
  fail 4 "needs sha256sum or shasum; on Debian: apt-get install coreutils"

dest=${2:-$here/corpora}
if [ $# -eq 1 ]; then mkdir -p "$dest" || fail 4 "cannot create $dest"; fi
if [ -d "$dest" ]; then dest=$dest/$file; fi
if matches "$dest"; then
  echo "fetch: $name is there already" >&2
  echo "$dest"
  exit 0
fi

temporary=$dest.tmp-$$
trap 'rm -f "$temporary" "$temporary.zip"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

install_it() {
  mv -f "$temporary" "$dest" || fail 4 "cannot write $dest"
  echo "$dest"
  exit 0
}

for folder in "${NOTCH_DATA:-}" "$here/corpora"; do
  [ -n "$folder" ] || continue
  for candidate in "$file" $(value names); do
    if matches "$folder/$candidate"; then
      echo "fetch: using $folder/$candidate" >&2
      cp "$folder/$candidate" "$temporary" || fail 4 "cannot write $temporary"
      install_it
    fi
  done
done

if command -v curl > /dev/null; then
  get() { curl -fL --retry 2 --connect-timeout 20 -sS -o "$2" "$1"; }
elif command -v wget > /dev/null; then
  get() { wget -q -T 20 -t 3 -O "$2" "$1"; }
else
  fail 4 "needs curl or wget; on Debian: apt-get install curl"
fi
if [ -n "$member" ] && ! command -v unzip > /dev/null; then
  fail 4 "needs unzip for $url; on Debian: apt-get install unzip"
fi

echo "fetch: downloading $url (licence: $(value licence))" >&2
target=$temporary${member:+.zip}
get "$url" "$target" ||
  fail 4 "cannot download $url: no network, or the address has changed; put the file into \$NOTCH_DATA as $file"
if [ -n "$member" ]; then
  unzip -p "$target" "$member" > "$temporary" || fail 3 "$url has no readable member \"$member\""
fi

size=$(size_of "$temporary")
hash=$(hash_of "$temporary")
[ -z "$bytes" ] || [ "$size" = "$bytes" ] ||
  fail 3 "$name has $size bytes, expected $bytes; the download was cut off or the source has changed"
[ -z "$sha256" ] || [ "$hash" = "$sha256" ] ||
  fail 3 "$name has SHA-256 $hash, expected $sha256; the source has changed"
[ "$size" -gt 0 ] || fail 3 "$name is empty"
if [ -z "$sha256" ]; then echo "fetch: $name has $size bytes, SHA-256 $hash (not checked: no known hash)" >&2; fi
install_it
