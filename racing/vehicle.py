"""The parameters of a car, with where they come from, and the closed formulas that follow from them.

GT3 is a representative car of the FIA GT3 class, not one maker's and not measured on one: round figures of the class
for mass, power and dimensions, the rest within the ranges that the cited books call usual, and tuned until what the
class is known for comes out (0-100 km/h in 3.5 to 4 s, about 270 km/h, 1.5 g in slow and 2 g in fast corners).
"""

from dataclasses import dataclass

import numpy as np

from racing.car import FloatArray

GRAVITY = 9.81
AIR_DENSITY = 1.2
"""kg/m^3 at 20 degrees C and sea level."""


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A rear-driven car with four equal tyres on a flat plane. SI units throughout.

    Where such values and formulas are treated: [FIA] FIA GT3 homologation, SRO balance-of-performance sheets;
    [M] Milliken & Milliken, Race Car Vehicle Dynamics, 1995; [P] Pacejka, Tire and Vehicle Dynamics, 3rd ed. 2012;
    [R] Rajamani, Vehicle Dynamics and Control, 2nd ed. 2012; [K] Katz, Race Car Aerodynamics, 1995.
    """

    mass: float = 1340.0
    """kg with driver and some fuel; balance of performance puts bare cars at 1250 to 1330 kg [FIA]."""
    yaw_inertia: float = 1750.0
    """kg m^2: a radius of gyration of 1.14 m, 0.43 wheelbases [M ch. 2]."""
    wheelbase: float = 2.65
    """m [FIA]."""
    front_weight: float = 0.45
    """Share of the weight on the front axle at rest; mid and rear engines lie at 0.42 to 0.48 [FIA]."""
    track_width: float = 1.66
    """m between the middles of left and right tyres [FIA: 2.0 m overall less a tyre]."""
    gravity_height: float = 0.40
    """m from the ground to the centre of gravity; low closed racing cars lie at 0.35 to 0.45 m [M ch. 18]."""
    front_roll_stiffness: float = 0.56
    """Share of the lateral load transfer on the front axle; the car understeers above front_weight [M ch. 18]."""
    load_lag: float = 0.06
    """s that springs and dampers take to shift the load (first order)."""

    tyre_friction: float = 1.68
    """Peak force over load of a slick at nominal_load; racing slicks reach 1.5 to 1.8 [M ch. 2]."""
    nominal_load: float = 3300.0
    """N, the load that tyre_friction belongs to: a quarter of the car."""
    load_sensitivity: float = 0.055
    """Loss of friction for each further nominal_load on a tyre [M ch. 2]."""
    peak_slip: float = 0.115
    """Slip of the peak force: 11.5 %, or the tangent of 6.6 degrees; slicks peak at 5 to 8 degrees [M ch. 2]."""
    tyre_shape: float = 1.5
    """Shape factor C of the Magic Formula [P eq. 4.6; 1.3 for lateral and 1.65 for longitudinal slip are usual]."""
    rear_grip: float = 1.10
    """Friction of the rear tyres over that of the front ones: the wider tyre gives a part
    of it, the rest was tuned until the car stayed stable under power."""
    wheel_radius: float = 0.345
    """m under load."""
    wheel_inertia: float = 1.6
    """kg m^2 of a wheel with tyre and disc."""
    rolling_resistance: float = 0.015
    """Rolling force over load [R ch. 4]."""

    drag_area: float = 1.2
    """m^2: drag coefficient times frontal area [K: 0.5 to 0.6 of 2.1 m^2 with a large wing]."""
    lift_area: float = 2.9
    """m^2 of downforce [K; teams quote 8 to 10 kN at 250 km/h]."""
    front_downforce: float = 0.41
    """Share of the downforce on the front axle; a little behind the weight for stability at speed."""

    peak_torque: float = 490.0
    """N m at peak_torque_rpm: about 500 hp at 7900 rpm [FIA]."""
    peak_torque_rpm: float = 6000.0
    torque_width_rpm: float = 6500.0
    """Full torque is a parabola peak_torque (1 - ((rpm - peak_torque_rpm) / torque_width_rpm)^2)."""
    idle_rpm: float = 1200.0
    launch_rpm: float = 4000.0
    """The clutch slips at up to this engine speed at full throttle, as a launch control holds it."""
    limit_rpm: float = 8300.0
    shift_up_rpm: float = 7900.0
    shift_down_rpm: float = 6900.0
    """A lower gear is taken where the engine would not turn faster in it than this."""
    shift_seconds: float = 0.06
    """s without drive during a paddle shift."""
    engine_inertia: float = 0.10
    """kg m^2 with clutch and gearbox."""
    driveline_efficiency: float = 0.92
    """[R ch. 5]."""
    gear_ratios: tuple[float, ...] = (10.4, 8.48, 6.92, 5.64, 4.60, 3.75)
    """Engine over wheel speed from first gear up, final drive included: even steps from 100 to 280 km/h."""
    differential_lock: float = 50.0
    """N m s: torque that the limited-slip differential moves to the slower wheel for each rad/s of difference."""

    brake_torque: float = 10000.0
    """N m at full pedal over all four wheels: enough to lock them even with downforce."""
    front_brakes: float = 0.68
    """Share of the front axle."""
    aid_starts: float = 0.75
    """Longitudinal slip, of the tyre's peak, where ABS and traction control begin to act; GT3 cars carry both [FIA]."""
    aid_ends: float = 1.4
    """Longitudinal slip where they have taken all brake or drive torque away."""

    full_lock: float = 0.35
    """rad of the road wheels at steer = 1."""
    steer_rate: float = 3.5
    """Full locks a second that the driver's arms or the wheel's motor can turn; lock to lock in 0.6 s."""

    @property
    def front_arm(self) -> float:
        """Metres from the centre of gravity forward to the front axle."""
        return self.wheelbase * (1.0 - self.front_weight)

    @property
    def rear_arm(self) -> float:
        """Metres from the centre of gravity back to the rear axle."""
        return self.wheelbase * self.front_weight

    @property
    def drag(self) -> float:
        """Drag over speed squared, N s^2/m^2."""
        return 0.5 * AIR_DENSITY * self.drag_area

    @property
    def downforce(self) -> float:
        """Downforce over speed squared, N s^2/m^2."""
        return 0.5 * AIR_DENSITY * self.lift_area

    @property
    def tyre_stiffness(self) -> float:
        """Stiffness factor B of the Magic Formula for slip normalised by peak_slip.

        With E = 0 the peak of sin(C atan(B s)) lies at s = tan(pi / 2C) / B, so this puts it at s = 1 [P eq. 4.7].
        """
        return float(np.tan(np.pi / (2.0 * self.tyre_shape)))

    @property
    def peak_power(self) -> float:
        """Most power at the wheels, W, that the gearbox keeps in reach."""
        rpm = np.linspace(self.idle_rpm, self.shift_up_rpm, 200)
        return float((self.full_torque(rpm) * rpm).max() * (np.pi / 30.0) * self.driveline_efficiency)

    @property
    def cornering_friction(self) -> float:
        """Lateral force over load of the whole car at the limit, below tyre_friction as the car leans on two tyres.

        The front axle gives out first: its outer tyre carries the roll share of the load transfer, and loses by it.
        """
        weight = self.mass * GRAVITY
        outer = self.front_roll_stiffness * self.gravity_height / self.track_width / self.front_weight
        lean = self.tyre_friction * outer
        axle = 0.5 * self.front_weight * weight
        loads = np.array([max(0.0, 1.0 - 2.0 * lean), min(2.0, 1.0 + 2.0 * lean)]) * axle
        friction = 1.0 + self.load_sensitivity * (1.0 - loads / self.nominal_load)
        return float(self.tyre_friction * (friction * loads).sum() / loads.sum())

    def wheel_arms(self) -> FloatArray:
        """Return wheel positions (4, 2) in metres from the centre of gravity, forward and left: FL, FR, RL, RR."""
        half = 0.5 * self.track_width
        return np.array(
            [[self.front_arm, half], [self.front_arm, -half], [-self.rear_arm, half], [-self.rear_arm, -half]]
        )

    def load_matrix(self) -> FloatArray:
        """Return L (4, 4) with wheel loads in N = L @ (1, speed^2, forward acceleration, left acceleration).

        Quasi-static load transfer [M ch. 18]: m a h over wheelbase or track width.
        """
        axle = np.array([self.front_weight, self.front_weight, 1 - self.front_weight, 1 - self.front_weight])
        aero = np.array([self.front_downforce] * 2 + [1 - self.front_downforce] * 2)
        roll = np.array([self.front_roll_stiffness] * 2 + [1 - self.front_roll_stiffness] * 2)
        moment = self.mass * self.gravity_height
        forward = np.array([-1.0, -1.0, 1.0, 1.0]) * moment / (2.0 * self.wheelbase)
        left = np.array([-1.0, 1.0, -1.0, 1.0]) * roll * moment / self.track_width
        return np.column_stack([0.5 * axle * self.mass * GRAVITY, 0.5 * aero * self.downforce, forward, left])

    def full_torque(self, rpm: FloatArray) -> FloatArray:
        """Return the engine torque at full throttle in N m, any shape."""
        offset = (rpm - self.peak_torque_rpm) / self.torque_width_rpm
        return np.asarray(self.peak_torque * (1.0 - offset * offset) * (rpm < self.limit_rpm))

    def drag_torque(self, rpm: FloatArray) -> FloatArray:
        """Return the torque in N m by which a closed throttle brakes; none near idle, where the clutch opens."""
        return np.asarray((10.0 + 0.005 * rpm) * np.clip(rpm / self.idle_rpm - 1.0, 0.0, 1.0))


GT3 = Vehicle()
"""The car that tracks are driven with unless another is named."""
