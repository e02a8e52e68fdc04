"""A snippet of the second text (custom modules, in Chinese): ReLU as a Function of the old style.

The text prints as Python 2 does, and prints the gradient of vb, which is None.
"""

import nncomp as torch
from nncomp.autograd import Function


class ReLUF(Function):
    def forward(self, input):
        self.save_for_backward(input)
        output = input.clamp(min=0)
        return output

    def backward(self, output_grad):
        input = self.to_save[0]
        input_grad = output_grad.clone()
        input_grad[input < 0] = 0
        return input_grad


## Test
if __name__ == "__main__":
    from nncomp.autograd import Variable

    torch.manual_seed(1111)
    a = torch.randn(2, 3)
    va = Variable(a, requires_grad=True)
    vb = ReLUF()(va)
    print(va.data, vb.data)
    vb.backward(torch.ones(va.size()))
    print(va.grad.data)
    assert va.grad.equal((a >= 0).float())
