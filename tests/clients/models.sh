# shellcheck shell=bash
# A part of run.sh: logits of GPT-2's 124M and a 135M Llama's shape with random weights beside PyTorch's
# (Debian: python3-torch), how long they take to load and with how much memory.

# At this size the numbers of two implementations are to agree, and loading is to be quick.
part_models() {
  if [ -n "$torch" ]; then
    head -c 400 lines.txt >few-lines.txt  # all of it is scored
    for shape in gpt2 llama; do
      "$python" "$here/large.py" "$shape" "large-$shape"
      check "$shape: loading" "$python" "$here/large.py" measure "large-$shape" "$notch"
      "$notch" eval "large-$shape" --text few-lines.txt --windows 1 --dump-logits "$work/large.safetensors" -q >/dev/null
      check "$shape: PyTorch" "$python" "$here/../fixtures/compare_torch.py" "large-$shape" large.safetensors
      rm -rf "large-$shape" large.safetensors
    done
  else
    skip "logits of large models" "needs python3 with torch"
  fi
}
