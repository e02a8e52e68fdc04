"""Snippets of the second text (custom modules, in Chinese): Linear, RNNCell and RNN by hand.

Corrected: `Moudule` and `sef.cell`, and the import of math, which the text leaves out.
"""

import math

from s001_relu_function import ReLUF

import nncomp as torch
import nncomp.nn as nn
from nncomp.autograd import Function
from nncomp.nn import Module, Parameter


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
        else:
            return grad_input, grad_weight


class Linear(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super(Linear, self).__init__()  # noqa: UP008
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(torch.Tensor(out_features, in_features))
        if bias:
            self.bias = nn.Parameter(torch.Tensor(out_features))
        else:
            self.register_parameter("bias", None)

    def forward(self, input):
        return LinearF()(input, self.weight, self.bias)


class RNNCell(Module):
    def __init__(self, input_size, hidden_size):
        super(RNNCell, self).__init__()  # noqa: UP008
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
        output = LinearF()(input, self.weight_ih, self.bias_ih) + LinearF()(
            h, self.weight_hh, self.bias_hh
        )
        output = ReLUF()(output)
        return output


class RNN(Module):
    def __init__(self, input_size, hidden_size):
        super(RNN, self).__init__()  # noqa: UP008
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.cell = RNNCell(input_size, hidden_size)

    def forward(self, inputs, initial_state):
        time_steps = inputs.size(1)
        state = initial_state
        outputs = []
        for t in range(time_steps):
            state = self.cell(inputs[:, t, :], state)
            outputs.append(state)
        return outputs


# What follows uses the classes; the text refers to a repository for it.
layer = Linear(3, 2)
layer.weight.data.uniform_(-1, 1)
layer.bias.data.zero_()
print(layer(torch.ones(1, 3)))
rnn = RNN(4, 6)
outputs = rnn(torch.randn(2, 5, 4), torch.zeros(2, 6))
sum(o.sum() for o in outputs).backward()
print(len(outputs), outputs[-1].shape, rnn.cell.weight_hh.grad.norm())
