# Completion for bash. Names come live from the instance, so this file never goes stale.
# Use: source it, or install it as /usr/share/bash-completion/completions/hozon
_hozon() {
  local IFS=$'\n'
  COMPREPLY=($(hozon __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  # '@' splits words in bash; what stands before it is there already.
  local current="${COMP_WORDS[COMP_CWORD]}"
  if [[ ${#COMPREPLY[@]} -eq 0 && ( -z $current || $current == */* || $current == .* ) ]]; then
    compopt -o default
  fi
}
complete -F _hozon hozon
