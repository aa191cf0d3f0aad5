#compdef hozon
# Completion for zsh. Words and names come live from hozon, so this file never goes stale.
# Use: put it as _hozon into a directory of $fpath.
_hozon() {
  local -a candidates
  candidates=("${(@f)$(hozon __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  candidates=(${candidates:#})
  if (( ${#candidates} )); then
    compadd -- $candidates
  else
    _files
  fi
}
_hozon "$@"
