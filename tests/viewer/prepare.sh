#!/usr/bin/env bash
# What the viewers' tests need from npm: OHIF, built and ready to serve; playwright-core, which
# drives Chromium; dcmjs and cornerstone's adapters in the versions that this OHIF contains.
#
#   prepare.sh [FOLDER]    default: build/viewer
#
# Does nothing where the folder was made from the same pins. OHIF is unpacked, not installed: as a
# dependency its package asks for what only its build needs.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="${1:-$(dirname "$(dirname "$here")")/build/viewer}"
stamp="$folder/.ready-$(cat "$here/package.json" "$here/package-lock.json" | sha256sum | cut -c1-12)"
[ ! -e "$stamp" ] || exit 0

if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    echo "npm is not installed (Debian packages nodejs and npm): the viewers' tests are skipped" >&2
    exit 1
fi

pin() { node -p "require('$here/package.json').ohif.$1"; }

echo "Fetching the viewer and the JavaScript readers into $folder (once; a minute)"
rm -rf "$folder"
mkdir -p "$folder"
cp "$here/package.json" "$here/package-lock.json" "$folder"
cd "$folder"
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
archive="$(npm pack "$(pin package)" --silent)"
node - "$archive" "$(pin integrity)" <<'JS'
const { createHash } = require('node:crypto');
const [archive, wanted] = process.argv.slice(2);
const found = 'sha512-' + createHash('sha512').update(require('node:fs').readFileSync(archive)).digest('base64');
if (found !== wanted) throw new Error(`${archive} is not the file that was pinned: ${found}`);
JS
mkdir ohif
tar xzf "$archive" --directory ohif --strip-components=2 package/dist
rm "$archive"
touch "$stamp"
