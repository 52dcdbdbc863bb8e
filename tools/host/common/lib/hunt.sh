# SPDX-License-Identifier: GPL-2.0-only
# What the hosts of `make run` and `make demo` have in common.

# value LINE NAME: what a result of hunt's or attack's says.
value() {
    expr "$1" : ".* $2=\([0-9]*\)"
}

# hidden LOG: in how many pages a guest said that it holds a secret.
hidden() {
    sed -n 's/.*secret: \([0-9]*\) pages hold it.*/\1/p' "$1"
}

# hunted WAY PAGES: looks for guests' secrets in all of RAM; whether none was found, and so many pages at least withheld.
hunted() {
    result=$(hunt "$1") || return
    echo "$result"
    [ "$(value "$result" with-secret)" = 0 ] && [ "$(value "$result" refused)" -ge "$2" ]
}
