"""How N cars move: tyres, wheels, engine and body, integrated in small steps on a flat plane.

A single-track model (Rajamani ch. 2, Milliken ch. 5) with its axles resolved into wheels, so that load transfer and the
differential act on each tyre. Vectors in the plane are complex numbers (real forward or x, imaginary left or y): a turn
is one multiplication, and a step is a few dozen numpy calls on arrays (N,) and (4, N). Knows no track: the ground comes
in as grip and rolling resistance for each wheel.
"""

import numpy as np
import numpy.typing as npt

from racing.car import FloatArray
from racing.vehicle import Vehicle

ComplexArray = npt.NDArray[np.complex128]

LOW_SPEED = 3.0
"""m/s below which slip is taken relative to this speed: tyres become dampers, and standing still is stable."""
_SHIFT_PAUSE = 0.25
_RPM = 30.0 / np.pi


class Dynamics:
    """State of N cars and its integration. Attributes are arrays to read, and to set at a restart.

    position, velocity (N,) complex in the world frame, m and m/s; heading (N,) rad; yaw_rate (N,) rad/s; wheel_speed
    (4, N) rad/s; steer, throttle, brake (N,) as applied; gear (N,) int; rpm (N,); grip and rolling (4, N), the ground's
    factors on friction and the rolling force over load; slip (4, N) combined, 1 at the tyre's peak; load (4, N) N;
    acceleration (N,) complex in the body frame, m/s^2; arm (4, 1) complex, m from the centre of gravity to each wheel.
    """

    def __init__(self, vehicle: Vehicle, count: int) -> None:
        self.vehicle = vehicle
        self.position, self.velocity, self.acceleration = (np.zeros(count, np.complex128) for _ in range(3))
        self.heading, self.yaw_rate, self._drag = (np.zeros(count) for _ in range(3))
        self.steer, self.throttle, self.brake = (np.zeros(count) for _ in range(3))
        self.wheel_speed, self.slip, self.load = (np.zeros((4, count)) for _ in range(3))
        self.gear = np.ones(count, dtype=np.int64)
        self.rpm = np.full(count, vehicle.idle_rpm)
        self.grip = np.ones((4, count))
        self.rolling = np.full((4, count), vehicle.rolling_resistance)

        self.arm: ComplexArray = np.ascontiguousarray((vehicle.wheel_arms() @ np.array([1.0, 1j]))[:, None])
        self._ratios = np.array(vehicle.gear_ratios)
        self._load_matrix = vehicle.load_matrix()
        self._load_inputs = np.zeros((4, count))
        self._load_inputs[0] = 1.0
        share = np.repeat([vehicle.front_brakes, 1 - vehicle.front_brakes], 2)
        self._brake_share = (0.5 * vehicle.brake_torque * share)[:, None]
        self._since_shift = np.full(count, _SHIFT_PAUSE)
        self._spin = 1j * self.arm
        self._lever = self.arm.conj()
        self._wheel_turn: ComplexArray = np.ones((4, count), dtype=np.complex128)
        self._wheel_turn_back = self._wheel_turn.conj()
        self._wheel_inertia = np.full((4, count), vehicle.wheel_inertia)
        self._drive, self._brakes, self._friction = (np.zeros((4, count)) for _ in range(3))

    def restart(
        self, which: npt.NDArray[np.int64], position: ComplexArray, heading: FloatArray, speed: FloatArray
    ) -> None:
        """Put the cars numbered `which` (K,) down rolling straight ahead at these speeds in m/s."""
        vehicle = self.vehicle
        self.position[which] = position
        self.heading[which] = heading
        self.velocity[which] = speed * np.exp(1j * heading)
        self.acceleration[which] = 0.0
        self.yaw_rate[which] = 0.0
        self.wheel_speed[:, which] = speed / vehicle.wheel_radius
        for control in (self.steer, self.throttle, self.brake):
            control[which] = 0.0
        rpm = speed[:, None] / vehicle.wheel_radius * self._ratios * _RPM
        self.gear[which] = 1 + np.minimum((rpm > vehicle.shift_down_rpm).sum(axis=1), len(self._ratios) - 1)
        wheel_rpm = rpm[np.arange(len(which)), self.gear[which] - 1]
        self.rpm[which] = np.maximum(wheel_rpm, vehicle.idle_rpm)
        self._since_shift[which] = _SHIFT_PAUSE
        self._load_inputs[1, which] = speed * speed
        self._load_inputs[2:, which] = 0.0
        self.slip[:, which] = 0.0
        self.load[:, which] = self._load_matrix @ self._load_inputs[:, which]

    def prepare(self, seconds: float, steer: FloatArray, throttle: FloatArray, brake: FloatArray) -> None:
        """Bring the slow parts up to date for the next `seconds`: steering, engine and gears, brakes, air.

        They change little within 12 ms, so that several steps share one call.
        """
        vehicle = self.vehicle
        reach = vehicle.steer_rate * seconds
        self.steer += np.clip(steer - self.steer, -reach, reach)
        self._wheel_turn[:2] = np.exp((1j * vehicle.full_lock) * self.steer)
        np.conjugate(self._wheel_turn, out=self._wheel_turn_back)
        self.throttle[:] = throttle
        self.brake[:] = brake
        self._shift(seconds)
        ratio = self._ratios[self.gear - 1]
        wheel_rpm = 0.5 * _RPM * ratio * (self.wheel_speed[2] + self.wheel_speed[3])
        slipping = vehicle.idle_rpm + throttle * (vehicle.launch_rpm - vehicle.idle_rpm)
        self.rpm = np.maximum(wheel_rpm, slipping)
        engaged = self._since_shift >= vehicle.shift_seconds
        torque = throttle * vehicle.full_torque(self.rpm) - (1.0 - throttle) * vehicle.drag_torque(wheel_rpm)
        half = (0.5 * vehicle.driveline_efficiency) * engaged * ratio * torque
        equalised = vehicle.differential_lock * (self.wheel_speed[2] - self.wheel_speed[3])
        self._drive[2] = half - equalised
        self._drive[3] = half + equalised
        self._wheel_inertia[2:] = vehicle.wheel_inertia + (0.5 * vehicle.engine_inertia) * ratio * ratio
        np.multiply(self._brake_share, brake, out=self._brakes)
        speed = np.abs(self.velocity)
        self._load_inputs[1] = speed * speed
        np.multiply(self.rolling, self.load, out=self._friction)
        self._friction *= vehicle.wheel_radius
        self._drag = vehicle.drag * speed

    def _shift(self, seconds: float) -> None:
        vehicle = self.vehicle
        self._since_shift += seconds
        ready = self._since_shift >= _SHIFT_PAUSE
        wheel_rpm = (0.5 * _RPM) * (self.wheel_speed[2] + self.wheel_speed[3])
        up = (wheel_rpm * self._ratios[self.gear - 1] > vehicle.shift_up_rpm) & (self.gear < len(self._ratios))
        lower = np.maximum(self.gear - 2, 0)
        down = (wheel_rpm * self._ratios[lower] < vehicle.shift_down_rpm) & (self.gear > 1)
        change = ready * (up.astype(np.int64) - down)
        if change.any():
            self.gear += change
            self._since_shift[change != 0] = 0.0

    def step(self, seconds: float) -> None:
        """Integrate one small step: tyre forces, wheels (implicitly), body (semi-implicit Euler)."""
        vehicle = self.vehicle
        radius = vehicle.wheel_radius
        turn = np.exp(1j * self.heading)
        body = self.velocity * turn.conj()

        # Velocity of each wheel's contact patch over ground, in the wheel's own frame.
        at_wheel = self._spin * self.yaw_rate
        at_wheel += body
        at_wheel *= self._wheel_turn_back
        forward = at_wheel.real

        # Combined slip by the similarity method for a tyre with equal stiffness both ways (Pacejka 2012, 4.3.1):
        # the force opposes the sliding velocity, its size follows the Magic Formula of the slip's size.
        sliding = at_wheel - radius * self.wheel_speed
        reference = np.abs(forward)
        np.maximum(reference, LOW_SPEED, out=reference)
        reference *= vehicle.peak_slip
        slip = np.abs(sliding)
        slip /= reference
        self.slip = slip
        load = self._load_matrix @ self._load_inputs
        np.maximum(load, 0.0, out=load)
        self.load = load
        stiffness = self._stiffness(slip, load)
        stiffness /= reference

        lengthwise = np.abs(sliding.real)
        lengthwise /= reference
        self._turn_wheels(seconds, forward, lengthwise, stiffness)

        force = at_wheel - radius * self.wheel_speed
        force *= stiffness
        force *= self._wheel_turn
        moment = np.add.reduce((self._lever * force).imag)
        total = np.add.reduce(force)
        total += self._drag * body
        total *= -1.0 / vehicle.mass
        self.acceleration = total
        lagging = self._load_inputs[2:]
        lagging += (seconds / vehicle.load_lag) * (total.view(np.float64).reshape(-1, 2).T - lagging)
        self.velocity += seconds * (total * turn)
        self.yaw_rate -= (seconds / vehicle.yaw_inertia) * moment
        self.heading += seconds * self.yaw_rate
        self.position += seconds * self.velocity

    def _stiffness(self, slip: FloatArray, load: FloatArray) -> FloatArray:
        """Return force over normalised slip (4, N) in N: sin(C atan(B s)) / s times friction times load.

        Friction falls linearly with load (Milliken ch. 2).
        """
        vehicle = self.vehicle
        sensitivity = vehicle.load_sensitivity
        force = vehicle.tyre_stiffness * slip
        np.arctan(force, out=force)
        force *= vehicle.tyre_shape
        np.sin(force, out=force)
        friction = load * (-vehicle.tyre_friction * sensitivity / vehicle.nominal_load)
        friction += vehicle.tyre_friction * (1.0 + sensitivity)
        friction *= load
        friction *= self.grip
        # Both vanish together at rest; the small offset keeps their ratio finite and right to first order.
        force += vehicle.tyre_stiffness * vehicle.tyre_shape * 1e-9
        slip = slip + 1e-9
        force /= slip
        force *= friction
        return force

    def _turn_wheels(self, seconds: float, forward: FloatArray, lengthwise: FloatArray, stiffness: FloatArray) -> None:
        """Advance wheel_speed with the tyre's stiffness held: linear in the new speed, so stable at any speed.

        I dw/dt = drive - R F with F = stiffness (R w - forward), solved for the end of the step; brakes and rolling
        resistance then take at most the speed that is there, so that they never turn a wheel backward.
        """
        vehicle = self.vehicle
        # Two calls in place of np.clip, whose wrapper costs more than the work on arrays this small.
        aid = (vehicle.aid_ends - lengthwise) * (1.0 / (vehicle.aid_ends - vehicle.aid_starts))
        np.maximum(aid, 0.0, out=aid)
        np.minimum(aid, 1.0, out=aid)
        grip = stiffness * (seconds * vehicle.wheel_radius)
        inertia = vehicle.wheel_radius * grip
        inertia += self._wheel_inertia
        speed = self.wheel_speed * self._wheel_inertia
        speed += grip * forward
        speed += seconds * (aid * self._drive)
        speed /= inertia
        loss = aid * self._brakes
        loss += self._friction
        loss *= seconds
        loss /= inertia
        remaining = np.abs(speed)
        remaining -= loss
        np.maximum(remaining, 0.0, out=remaining)
        self.wheel_speed = np.copysign(remaining, speed)
