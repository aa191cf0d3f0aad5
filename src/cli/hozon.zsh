#compdef hozon
# Completion for zsh. Words and names come live from hozon, so this file never goes stale.
# Use: put it as _hozon into a directory of $fpath.
_hozon() {
  # Without their quotes; $PREFIX is the word being typed, whose quote may be open still.
  local -a typed=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}") candidates
  candidates=("${(@f)$(hozon __complete -- "${(@)typed}" 2>/dev/null)}")
  candidates=("${(@)candidates:#}")
  if (( ${#candidates} )); then
    compadd -- "${(@)candidates}"
  else
    _files
  fi
}
_hozon "$@"
