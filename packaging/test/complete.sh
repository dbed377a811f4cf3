#!/usr/bin/env bash
# The completions of the package in the shells that they are for: a command, a flag, and the name of a queue, which the
# agent is asked for.
#
#   packaging/test/complete.sh     with the newest package for this architecture in dist
. "$(dirname "$0")/lib.sh"
needs dpkg-deb bash zsh fish
readonly installed=/usr/share/bash-completion/bash_completion
[[ -e $installed ]] || fail "$installed is missing"
dpkg-deb -x "$(newest "$(dpkg --print-architecture)")" "$scratch/x"
readonly share=$scratch/x/usr/share
export PATH=$scratch/x/usr/bin:$PATH QUERATOR_SOCKET=$scratch/q.sock HOME=$scratch

querator agent --data-dir "$scratch/data" --socket "$QUERATOR_SOCKET" >"$scratch/log" 2>&1 &
agent=$!
at_end 'kill "$agent"; wait "$agent" 2>/dev/null'
until_true 30 "the start of the agent" querator queues list
querator queues create temperatures 2>/dev/null

in_bash() {
  bash --norc -c '
    . "$1"; . "$2"
    COMP_LINE=$3 COMP_POINT=${#3}
    read -ra COMP_WORDS <<<"$3"
    if [[ $3 == *" " ]]; then COMP_WORDS+=(""); fi
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    compopt() { :; } # It is only allowed where readline completes.
    __start_querator
    printf "%s\n" "${COMPREPLY[@]}"
  ' bash "$installed" "$share/bash-completion/completions/querator" "$1"
}
in_fish() { fish --no-config -c "source $share/fish/vendor_completions.d/querator.fish; complete -C '$1'"; }
# zsh completes where somebody types: at a terminal of its own, what is shown there is read.
in_zsh() {
  zsh -f -c '
    zmodload zsh/zpty
    zpty shell "zsh -f -i"
    # shown TEXT waits until the terminal shows it.
    shown() {
      local all="" part
      for try in {1..100}; do
        if zpty -r -t shell part; then all+=$part; else sleep 0.1; fi
        if [[ $all == *$1* ]]; then print -r -- $1; return; fi
      done
      print -r -- "something else: ${all//$1/}"
    }
    zpty -w shell "fpath=($1 \$fpath); autoload -U compinit; compinit -u -d $2; PS1=; print rea\"\"dy"
    shown ready >/dev/null
    zpty -w -n shell "$3"$'"'\\t'"'
    shown "$4"
    zpty -d shell
  ' zsh "$share/zsh/vendor-completions" "$scratch/zcompdump" "$1" "$2"
}

# completes LINE WANT
completes() {
  local shell said
  for shell in bash fish zsh; do
    said=$("in_$shell" "$1" "$2" 2>&1)
    matches "what $shell makes of '$1'" "$said" "*$2*"
  done
  passed "bash, fish and zsh complete '$1' to $2"
}
completes 'querator redr' redrive
completes 'querator produce --li' lines
completes 'querator lease temp' temperatures
