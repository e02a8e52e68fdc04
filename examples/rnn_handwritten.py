"""A recurrent net written by hand, with autograd Functions of its own, on digits read row by row.

`LinearF` and `ReLUF` define forward and backward as methods of an instance that is called once.
"""

from __future__ import annotations

import math
import sys

from compare import accuracy, make_batches, options, train_both

import nncomp as torch
from nncomp.autograd import Function
from nncomp.datasets import digits
from nncomp.nn import Linear, Module, Parameter


class LinearF(Function):
    def forward(self, input, weight, bias=None):
        self.save_for_backward(input, weight, bias)
        output = torch.mm(input, weight.t())
        if bias is not None:
            output += bias.unsqueeze(0).expand_as(output)
        return output

    def backward(self, grad_output):
        input, weight, bias = self.saved_tensors
        grad_input = grad_weight = grad_bias = None
        if self.needs_input_grad[0]:
            grad_input = torch.mm(grad_output, weight)
        if self.needs_input_grad[1]:
            grad_weight = torch.mm(grad_output.t(), input)
        if bias is not None and self.needs_input_grad[2]:
            grad_bias = grad_output.sum(0).squeeze(0)
        if bias is not None:
            return grad_input, grad_weight, grad_bias
        return grad_input, grad_weight


class ReLUF(Function):
    def forward(self, input):
        self.save_for_backward(input)
        output = input.clamp(min=0)
        return output

    def backward(self, output_grad):
        (input,) = self.saved_tensors
        input_grad = output_grad.clone()
        input_grad[input < 0] = 0
        return input_grad


class RNNCell(Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih = Parameter(torch.Tensor(hidden_size, input_size))
        self.weight_hh = Parameter(torch.Tensor(hidden_size, hidden_size))
        self.bias_ih = Parameter(torch.Tensor(hidden_size))
        self.bias_hh = Parameter(torch.Tensor(hidden_size))
        self.reset_parameters()

    def reset_parameters(self):
        stdv = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            weight.data.uniform_(-stdv, stdv)

    def forward(self, input, h):
        output = LinearF()(input, self.weight_ih, self.bias_ih)
        output = output + LinearF()(h, self.weight_hh, self.bias_hh)
        return ReLUF()(output)


class RNN(Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.cell = RNNCell(input_size, hidden_size)

    def forward(self, inputs, initial_state):
        state = initial_state
        outputs = []
        for t in range(inputs.size(1)):
            state = self.cell(inputs[:, t, :], state)
            outputs.append(state)
        return outputs


class Classifier(Module):
    def __init__(self, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.rnn = RNN(8, hidden_size)
        self.head = Linear(hidden_size, 10)

    def forward(self, images):
        initial_state = torch.zeros(images.size(0), self.hidden_size)
        return self.head(self.rnn(images, initial_state)[-1])


def main() -> int:
    args = options(__doc__)
    torch.manual_seed(0)
    model = Classifier(hidden_size=64)
    batches = make_batches(*digits("train"), args)
    code = train_both(model, batches, lambda p: torch.optim.Adam(p, lr=3e-3))
    print(f"test accuracy {accuracy(model, *digits('test')):.1%}")
    return code


if __name__ == "__main__":
    sys.exit(main())
